"""Regularisers for recurrent nets."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LockedDropout(nn.Module):
    """Dropout with one mask for all steps of a row (Gal & Ghahramani 2016, arXiv:1512.05287).

    A dropped feature is missing at every step, so the recurrence can't recover it from another step. It also draws
    `time` times fewer random numbers than ordinary dropout.
    """

    def __init__(self, p: float) -> None:
        """Drop each feature with probability `p`.

        Raises:
            ValueError: `p` is not in [0, 1).
        """
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"p must be at least 0 and below 1, not {p}")
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` (batch, time, features): in training, some features of each row are 0 and the others are scaled by
        1 / (1 - p)."""
        if not self.training or not self.p:
            return x
        kept = torch.rand(x.size(0), 1, x.size(2), device=x.device) >= self.p
        return x * (kept.to(x.dtype) / (1 - self.p))

    def extra_repr(self) -> str:
        return f"p={self.p}"
