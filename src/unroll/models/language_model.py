"""A language model: embedding, recurrent encoder of one direction, output layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unroll.config import LanguageModelingConfig
from unroll.encoders import Encoder, State, build_encoder
from unroll.encoders.regularizers import EmbeddingDropout, LockedDropout, same_masks


class LanguageModel(nn.Module):
    """Symbol ids in; out, at each step, the logits of the next symbol."""

    vocabulary_weights = ("embedding.weight", "weight", "bias")  # weights with a row for each symbol

    def __init__(
        self,
        encoder: Encoder,
        *,
        vocabulary_size: int,
        one_hot: bool = False,
        tie_weights: bool = False,
        embedding_dropout: float = 0.0,
        input_dropout: float = 0.0,
        output_dropout: float = 0.0,
    ) -> None:
        """Put the layers together.

        Args:
            encoder: reads the embeddings, which have its `input_size`, in one direction.
            vocabulary_size: ids are below this.
            one_hot: read each id as a unit vector instead of a learnt embedding; the encoder's `input_size` must be
                `vocabulary_size`.
            tie_weights: use the embedding as the output layer's weight (Press & Wolf 2017, arXiv:1608.05859).
            embedding_dropout: probability of dropping a symbol's embedding for a whole window, in training.
            input_dropout: probability of dropping a feature of a lane's embeddings for a whole window, in training.
            output_dropout: the same for the encoder's outputs.

        Raises:
            ValueError: the encoder has two directions, or sizes do not fit.
        """
        super().__init__()
        if encoder.num_directions == 2:
            raise ValueError("a language model needs a one-directional encoder: the other direction sees the future")
        if one_hot and encoder.input_size != vocabulary_size:
            raise ValueError(f"one-hot input has {vocabulary_size} features, the encoder reads {encoder.input_size}")
        if tie_weights and (one_hot or encoder.input_size != encoder.output_size):
            raise ValueError("tied weights need an embedding as wide as the encoder's output")
        self.vocabulary_size, self.encoder = vocabulary_size, encoder
        self.embedding = None if one_hot else nn.Embedding(vocabulary_size, encoder.input_size)
        self.weight = None if tie_weights else nn.Parameter(torch.empty(vocabulary_size, encoder.output_size))
        self.bias = nn.Parameter(torch.zeros(vocabulary_size))
        self.embedding_dropout = EmbeddingDropout(embedding_dropout, vocabulary_size)
        self.input_dropout, self.output_dropout = LockedDropout(input_dropout), LockedDropout(output_dropout)
        if self.embedding is not None:
            nn.init.uniform_(self.embedding.weight, -0.1, 0.1)
        nn.init.uniform_(self.output_weight, -0.1, 0.1)

    @property
    def output_weight(self) -> Tensor:
        """The output layer's weight, (vocabulary, output)."""
        if self.weight is not None:
            return self.weight
        assert self.embedding is not None
        return self.embedding.weight

    def forward(
        self, ids: Tensor, state: State | None = None, *, carry: int | None = None, last: int | None = None
    ) -> tuple[Tensor, State]:
        """Predict the next symbol at every step.

        Args:
            ids: (batch, time).
            state: the encoder's state before the first step; None means zeros.
            carry: return the state after this many steps, with its graph; None means all steps.
            last: return the logits of this many steps, the last ones; None means all steps.

        Returns:
            logits: (batch, last, vocabulary).
            state: the encoder's state after the first `carry` steps.
        """
        x = self.input_dropout(self.embedding_dropout(self._embed(ids), ids))
        if carry is None or carry == ids.size(1):
            output, state = self.encoder(x, None, state)
        elif carry == 0:
            output, _ = self.encoder(x, None, state)
            state = self.encoder.zero_state(x) if state is None else state
        else:
            with same_masks():
                first, state = self.encoder(x[:, :carry], None, state)
                second, _ = self.encoder(x[:, carry:], None, state)
            output = torch.cat([first, second], dim=1)
        output = output if last is None else output[:, output.size(1) - last :]
        return F.linear(self.output_dropout(output), self.output_weight, self.bias), state

    def look_back(self, ids: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Return the two ends of a gradient through time, for `ids` (rows, steps + 1).

        Returns:
            x: the encoder's input, (rows, steps, features).
            loss: a function from the encoder's output at the last step (rows, hidden) to the cross entropy (rows,) of
                the next symbol.
        """
        x, last = self._embed(ids[:, :-1]).detach(), ids[:, -1]
        return x, lambda h: F.cross_entropy(F.linear(h, self.output_weight, self.bias), last, reduction="none")

    def _embed(self, ids: Tensor) -> Tensor:
        if self.embedding is None:
            return F.one_hot(ids, self.vocabulary_size).to(self.bias.dtype)
        embedded: Tensor = self.embedding(ids)
        return embedded


def build_language_model(config: LanguageModelingConfig, vocabulary_size: int) -> LanguageModel:
    """Return an untrained language model with the given settings."""
    model = config.model
    return LanguageModel(
        build_encoder(model.embedding_size or vocabulary_size, **asdict(config.encoder)),
        vocabulary_size=vocabulary_size,
        one_hot=model.embedding_size is None,
        tie_weights=model.tie_weights,
        embedding_dropout=model.embedding_dropout,
        input_dropout=model.input_dropout,
        output_dropout=model.output_dropout,
    )
