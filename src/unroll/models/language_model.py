"""A language model: embedding, recurrent encoder of one direction, output layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unroll.config import LanguageModelingConfig
from unroll.config.fields import brief
from unroll.encoders import Encoder, State, build_encoder
from unroll.encoders.regularizers import EmbeddingDropout, LockedDropout, same_masks
from unroll.errors import ConfigError


class LanguageModel(nn.Module):
    """Symbol ids in; out, at each step, the logits of the next symbol."""

    vocabulary_weights = ("embedding.weight", "weight", "bias")  # weights with a row for each symbol
    cluster_weights = ("adaptive.",)  # how the names of weights of clusters of symbols begin

    def __init__(
        self,
        encoder: Encoder,
        *,
        vocabulary_size: int,
        one_hot: bool = False,
        tie_weights: bool = False,
        cutoffs: Sequence[int] = (),
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
            cutoffs: ids at which clusters of rarer symbols begin, in order: the output layer is an adaptive softmax
                (Grave et al. 2017, arXiv:1609.04309). Without them it is the full softmax.
            embedding_dropout: probability of dropping a symbol's embedding for a whole window, in training.
            input_dropout: probability of dropping a feature of a lane's embeddings for a whole window, in training.
            output_dropout: the same for the encoder's outputs.

        Raises:
            ValueError: the encoder has two directions, weights are tied with cutoffs, or sizes do not fit.
        """
        super().__init__()
        if encoder.num_directions == 2:
            raise ValueError("a language model needs a one-directional encoder: the other direction sees the future")
        if one_hot and encoder.input_size != vocabulary_size:
            raise ValueError(f"one-hot input has {vocabulary_size} features, the encoder reads {encoder.input_size}")
        if tie_weights and (one_hot or encoder.input_size != encoder.output_size):
            raise ValueError("tied weights need an embedding as wide as the encoder's output")
        if tie_weights and cutoffs:
            raise ValueError("tied weights need the full softmax, without cutoffs")
        self.vocabulary_size, self.encoder = vocabulary_size, encoder
        self.embedding = None if one_hot else nn.Embedding(vocabulary_size, encoder.input_size)
        own = not tie_weights and not cutoffs
        self.weight = nn.Parameter(torch.empty(vocabulary_size, encoder.output_size)) if own else None
        self.bias = None if cutoffs else nn.Parameter(torch.zeros(vocabulary_size))
        self.adaptive = (
            nn.AdaptiveLogSoftmaxWithLoss(encoder.output_size, vocabulary_size, cutoffs, head_bias=True)
            if cutoffs
            else None
        )
        self.embedding_dropout = EmbeddingDropout(embedding_dropout, vocabulary_size)
        self.input_dropout, self.output_dropout = LockedDropout(input_dropout), LockedDropout(output_dropout)
        if self.embedding is not None:
            nn.init.uniform_(self.embedding.weight, -0.1, 0.1)
        if not cutoffs:
            nn.init.uniform_(self.output_weight, -0.1, 0.1)

    @property
    def output_weight(self) -> Tensor:
        """The full softmax's weight, (vocabulary, output)."""
        if self.weight is not None:
            return self.weight
        assert self.embedding is not None and self.adaptive is None
        return self.embedding.weight

    def forward(
        self,
        ids: Tensor,
        state: State | None = None,
        *,
        carry: int | None = None,
        last: int | None = None,
        targets: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        """Predict the next symbol at every step.

        Args:
            ids: (batch, time).
            state: the encoder's state before the first step; None means zeros.
            carry: return the state after this many steps, with its graph; None means all steps.
            last: return the logits of this many steps, the last ones; None means all steps.
            targets: (batch, last), the next symbols: return their `losses` instead of logits. An adaptive softmax then
                computes the clusters that they are in, and no other.

        Returns:
            logits: (batch, last, vocabulary); log-probabilities from an adaptive softmax. With targets: (batch, last).
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
        output = self.output_dropout(output)
        return self._logits(output) if targets is None else self.losses(output, targets), state

    def losses(self, output: Tensor, targets: Tensor) -> Tensor:
        """Return the cross entropy in nats of each of the targets (…), from the encoder's outputs (…, output) after
        dropout."""
        rows, ids = output.flatten(0, -2), targets.flatten()
        if self.adaptive is None:
            losses = F.cross_entropy(self._logits(rows), ids, reduction="none")
        else:
            # In mixed precision, the types would differ where the module puts the clusters' losses together.
            with torch.autocast(rows.device.type, enabled=False):
                losses = -self.adaptive(rows.to(self.adaptive.head.weight.dtype), ids).output
        return losses.view_as(targets)

    def _logits(self, output: Tensor) -> Tensor:
        if self.adaptive is None:
            return F.linear(output, self.output_weight, self.bias)
        logits: Tensor = self.adaptive.log_prob(output.flatten(0, -2)).unflatten(0, output.shape[:-1])
        return logits

    def look_back(self, ids: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Return the two ends of a gradient through time, for `ids` (rows, steps + 1).

        Returns:
            x: the encoder's input, (rows, steps, features).
            loss: a function from the encoder's output at the last step (rows, hidden) to the cross entropy (rows,) of
                the next symbol.
        """
        x, last = self._embed(ids[:, :-1]).detach(), ids[:, -1]
        return x, lambda h: self.losses(h, last)

    def _embed(self, ids: Tensor) -> Tensor:
        if self.embedding is None:
            return F.one_hot(ids, self.vocabulary_size).to(next(self.parameters()).dtype)
        embedded: Tensor = self.embedding(ids)
        return embedded


def build_language_model(config: LanguageModelingConfig, vocabulary_size: int) -> LanguageModel:
    """Return an untrained language model with the given settings.

    Raises:
        ConfigError: a cutoff is not below the vocabulary's size.
    """
    model = config.model
    if model.cutoffs and model.cutoffs[-1] >= vocabulary_size:
        raise ConfigError(
            f"model.cutoffs={brief(model.cutoffs)}: must be below {vocabulary_size}, the vocabulary's size; write "
            "smaller ones, or model.cutoffs=[] for the full softmax"
        )
    return LanguageModel(
        build_encoder(model.embedding_size or vocabulary_size, **asdict(config.encoder)),
        vocabulary_size=vocabulary_size,
        one_hot=model.embedding_size is None,
        tie_weights=model.tie_weights,
        cutoffs=model.cutoffs,
        embedding_dropout=model.embedding_dropout,
        input_dropout=model.input_dropout,
        output_dropout=model.output_dropout,
    )
