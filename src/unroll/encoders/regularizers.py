"""Regularisers for recurrent nets. Their masks come from torch's global generator; in evaluation they do nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor, nn

_masks: ContextVar[dict[nn.Module, Tensor] | None] = ContextVar("masks", default=None)


@contextmanager
def same_masks() -> Iterator[None]:
    """Within it, each of the dropouts below draws its mask once, however often it is called. A window that an encoder
    reads in several pieces then has one mask.

    >>> dropout, x = LockedDropout(0.5), torch.ones(1, 1, 64)
    >>> with same_masks():
    ...     torch.equal(dropout(x), dropout(x))
    True
    """
    token = _masks.set({})
    try:
        yield
    finally:
        _masks.reset(token)


class _Dropout(nn.Module):
    """What all kinds of dropout share: the probability `p`, and how a mask is drawn."""

    def __init__(self, p: float) -> None:
        """Drop with probability `p`.

        Raises:
            ValueError: `p` is not in [0, 1).
        """
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"p must be at least 0 and below 1, not {p}")
        self.p = p

    def _mask(self, shape: Sequence[int], like: Tensor) -> Tensor:
        """Return a mask: 0 with probability `p`, else 1 / (1 - p)."""
        masks = _masks.get()
        if masks is not None and self in masks:
            return masks[self]
        # `bernoulli_` would take three times as long on a CPU.
        mask = (torch.rand(shape, device=like.device) >= self.p).to(like.dtype) / (1 - self.p)
        if masks is not None:
            masks[self] = mask
        return mask

    def extra_repr(self) -> str:
        return f"p={self.p}"


class LockedDropout(_Dropout):
    """Dropout with one mask for all steps of a row (Gal & Ghahramani 2016, arXiv:1512.05287).

    A dropped feature is missing at every step, so the recurrence can't recover it from another step. It also draws
    `time` times fewer random numbers than ordinary dropout.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` (batch, time, features): in training, some features of each row are 0 and the others are scaled by
        1 / (1 - p)."""
        if not self.training or not self.p:
            return x
        return x * self._mask((x.size(0), 1, x.size(2)), x)


class EmbeddingDropout(_Dropout):
    """Dropout of whole rows of an embedding (Gal & Ghahramani 2016, arXiv:1512.05287).

    A dropped word is missing wherever it stands in the batch, so the model learns not to rely on single words.
    """

    def __init__(self, p: float, vocabulary_size: int) -> None:
        """Drop each of the words with probability `p`.

        Raises:
            ValueError: `p` is not in [0, 1).
        """
        super().__init__(p)
        self.vocabulary_size = vocabulary_size

    def forward(self, x: Tensor, ids: Tensor) -> Tensor:
        """Return `x` (batch, time, features), the vectors of `ids` (batch, time): in training, those of some words are
        0 and the others are scaled by 1 / (1 - p)."""
        if not self.training or not self.p:
            return x
        return x * self._mask((self.vocabulary_size, 1), x)[ids]


class WeightDropout(_Dropout):
    """Dropout of recurrent weights: DropConnect (Wan et al. 2013) on the product with the state, as in AWD-LSTM
    (Merity et al. 2017, arXiv:1708.02182).

    The weights are masked once, before the first step, so torch's fused kernels run as ever. The masked weights are
    plain tensors: the parameters stay as they are and get the gradient.
    """

    def forward(self, weights: Sequence[Tensor]) -> list[Tensor]:
        """Return `weights`, all of one shape: in training, some elements are 0 and the others are scaled by
        1 / (1 - p)."""
        if not self.training or not self.p:
            return list(weights)
        masks = self._mask((len(weights), *weights[0].shape), weights[0])
        return [weight * mask for weight, mask in zip(weights, masks, strict=True)]


def activation_penalty(raw: Tensor, dropped: Tensor, alpha: float, beta: float) -> Tensor:
    """Return the activation penalties of Merity et al. 2017 (arXiv:1708.01009), AR and TAR, to be added to a loss:

        alpha * mean(dropped_t ** 2) + beta * mean((raw_{t+1} - raw_t) ** 2)

    AR keeps activations small; TAR keeps them from changing quickly. As in the authors' program, the means are over
    rows, steps and features, so the weights do not depend on the sizes.

    Args:
        raw: (batch, time, features), the encoder's outputs.
        dropped: the same after dropout.
        alpha: weight of AR.
        beta: weight of TAR; a single step has none.
    """
    dtype = torch.promote_types(raw.dtype, torch.float32)
    penalty = alpha * dropped.to(dtype).square().mean()
    if raw.size(1) > 1:
        penalty = penalty + beta * raw.to(dtype).diff(dim=1).square().mean()
    return penalty
