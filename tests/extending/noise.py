"""A regulariser of one's own, around any cell: Gaussian noise on the input, in training."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from unroll.encoders import Encoder, RecurrentEncoder, State


class NoisyGRU(Encoder):
    """A GRU whose input features are disturbed by noise of a standard deviation."""

    def __init__(self, input_size: int, hidden_size: int, noise: float = 0.1, **settings: Any) -> None:
        super().__init__()
        self.noise, self.inner = noise, RecurrentEncoder("gru", input_size, hidden_size, **settings)
        self.input_size, self.output_size = input_size, self.inner.output_size
        self.num_directions, self.state_parts = self.inner.num_directions, self.inner.state_parts

    def zero_state(self, x: Tensor) -> State:
        return self.inner.zero_state(x)

    def forward(self, x: Tensor, lengths: Tensor | None = None, state: State | None = None) -> tuple[Tensor, State]:
        if self.training:
            x = x + self.noise * torch.randn_like(x)
        output, state = self.inner(x, lengths, state)
        return output, state
