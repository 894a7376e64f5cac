"""Regularisers made for recurrent nets."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LockedDropout(nn.Module):
    """Drop-out with one mask for all steps of a row (Gal & Ghahramani 2016, arXiv:1512.05287).

    A feature that is dropped stays dropped through the row, so that the recurrence can't restore it from the step
    before. It also draws `time` times fewer random numbers than ordinary drop-out.
    """

    def __init__(self, p: float) -> None:
        """Drop with probability `p`.

        Raises:
            ValueError: `p` is not in [0, 1).
        """
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"p must be at least 0 and below 1, not {p}")
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` (batch, time, features) with features dropped row by row and the rest scaled by 1 / (1 - p)."""
        if not self.training or not self.p:
            return x
        kept = torch.rand(x.size(0), 1, x.size(2), device=x.device) >= self.p
        return x * (kept.to(x.dtype) / (1 - self.p))

    def extra_repr(self) -> str:
        return f"p={self.p}"
