"""Regression of the next value: an encoder and a linear layer."""

from __future__ import annotations

from dataclasses import asdict

import torch
from torch import Tensor, nn

from unroll.encoders import build_encoder

from .data import NextValueConfig


class NextValueModel(nn.Module):
    def __init__(self, config: NextValueConfig) -> None:
        super().__init__()
        self.encoder = build_encoder(1, **asdict(config.encoder))
        self.head = nn.Linear(self.encoder.output_size, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the value (batch,) that follows `x` (batch, time, 1)."""
        output: Tensor = self.encoder(x)[0]
        return torch.as_tensor(self.head(output[:, -1])[:, 0])
