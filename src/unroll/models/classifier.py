"""Classification of documents: embedding, recurrent encoder, pooling, head."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unroll.config import ClassificationConfig
from unroll.encoders import Encoder, build_encoder, pool
from unroll.encoders.regularizers import EmbeddingDropout, LockedDropout, same_masks
from unroll.encoders.state import detach
from unroll.text.vocabulary import PAD_ID, UNKNOWN_ID


class TextClassifier(nn.Module):
    """Token ids in, one logit per class out."""

    vocabulary_weights = ("embedding.weight",)  # weights with a row for each token

    def __init__(
        self,
        encoder: Encoder,
        *,
        vocabulary_size: int,
        num_classes: int,
        pooling: Sequence[str] = ("max", "mean"),
        head_size: int = 0,
        dropout: float = 0.0,
        word_dropout: float = 0.0,
        embedding_dropout: float = 0.0,
        window: int | None = None,
    ) -> None:
        """Put the layers together.

        Args:
            encoder: reads the embeddings, which have its `input_size`.
            vocabulary_size: ids are below this; `PAD_ID` and `UNKNOWN_ID` are among them.
            num_classes: number of logits.
            pooling: how the encoder's outputs become one vector, see `unroll.encoders.pool`.
            head_size: units of a hidden ReLU layer between the pooled vector and the logits; 0 means no such layer.
            dropout: probability of dropping a feature of a document's embeddings and of its pooled vector, in training.
            word_dropout: probability of reading a word as `<unk>`, in training (Iyyer et al. 2015).
            embedding_dropout: probability of dropping a word's embedding wherever it stands in the batch, in training.
            window: steps after which the gradient through time is cut, for an encoder of one direction; None means
                never.

        Raises:
            ValueError: the window is below 1, or the encoder has two directions and there is a window.
        """
        super().__init__()
        if window is not None and window < 1:
            raise ValueError(f"a window is at least 1 step long, not {window}")
        if window is not None and encoder.num_directions == 2:
            raise ValueError("a window needs a one-directional encoder: the backward direction starts at the end")
        self.embedding = nn.Embedding(vocabulary_size, encoder.input_size, padding_idx=PAD_ID)
        # Small, because dropout on large embeddings makes the first epochs noisy. <pad> stays zero.
        nn.init.normal_(self.embedding.weight, std=0.1)
        nn.init.zeros_(self.embedding.weight.data[PAD_ID])
        self.encoder = encoder
        self.pooling = tuple(pooling)
        self.embedding_dropout = EmbeddingDropout(embedding_dropout, vocabulary_size)
        self.input_dropout, self.output_dropout = LockedDropout(dropout), nn.Dropout(dropout)
        self.word_dropout = word_dropout
        self.window = window
        features = len(self.pooling) * encoder.output_size
        hidden = [nn.Linear(features, head_size), nn.ReLU()] if head_size else []
        self.head = nn.Sequential(*hidden, nn.Linear(head_size or features, num_classes))

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """Return the logits (batch, classes) of right-padded `ids` (batch, time) with `lengths` (batch,)."""
        return self.classify(self.embed(ids), lengths)

    def embed(self, ids: Tensor) -> Tensor:
        """Return the embeddings (batch, time, features) of `ids` (batch, time)."""
        if self.training and self.word_dropout:
            dropped = torch.rand(ids.shape, device=ids.device) < self.word_dropout
            ids = ids.masked_fill(dropped & (ids != PAD_ID), UNKNOWN_ID)
        embeddings: Tensor = self.embedding_dropout(self.embedding(ids), ids)
        return embeddings

    def classify(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Return the logits (batch, classes) of embeddings `x` (batch, time, features), right-padded."""
        x = self.input_dropout(x)
        with same_masks():  # of all windows of a document
            outputs = self._encode(x, lengths)
        pooled = pool(outputs, lengths, self.pooling, self.encoder.num_directions)
        logits: Tensor = self.head(self.output_dropout(pooled))
        return logits

    def look_back(self, ids: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Return the two ends of a gradient through time, for `ids` (rows, steps).

        Returns:
            x: the encoder's input, (rows, steps, features).
            loss: a function from the encoder's output at the last step (rows, directions x hidden) to a loss (rows,).
                It classifies by that step alone, and is the cross entropy of the likeliest class.
        """

        def loss(h: Tensor) -> Tensor:
            logits = self.head(torch.cat([h] * len(self.pooling), dim=1))
            return F.cross_entropy(logits, logits.argmax(1), reduction="none")

        return self.embedding.weight[ids].detach(), loss

    def _encode(self, x: Tensor, lengths: Tensor) -> Tensor:
        if self.window is None or x.size(1) <= self.window:
            output: Tensor = self.encoder(x, lengths)[0]
            return output
        outputs, state = [], None
        for start in range(0, x.size(1), self.window):
            window = x[:, start : start + self.window]
            left = lengths.to(x.device) - start
            # A row that has ended reads one step of each later window, from a zero state; it is blanked below.
            output, state = self.encoder(window, left.clamp(1, window.size(1)), state)
            outputs.append(output)
            state = detach(state, ended=left <= window.size(1))
        padding = torch.arange(x.size(1), device=x.device) >= lengths.to(x.device)[:, None]
        return torch.cat(outputs, dim=1).masked_fill(padding[..., None], 0)


def build_classifier(config: ClassificationConfig, vocabulary_size: int, num_classes: int) -> TextClassifier:
    """Return an untrained classifier with the given settings."""
    return TextClassifier(
        build_encoder(config.model.embedding_size, **asdict(config.encoder)),
        vocabulary_size=vocabulary_size,
        num_classes=num_classes,
        pooling=config.model.pooling,
        head_size=config.model.head_size,
        dropout=config.model.dropout,
        word_dropout=config.model.word_dropout,
        embedding_dropout=config.model.embedding_dropout,
        window=config.tbptt.window,
    )
