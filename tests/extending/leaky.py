"""An encoder of one's own, without a kernel of torch's: leaky integrators."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unroll.encoders import Encoder, State


class Leaky(Encoder):
    """h' = leak * h + (1 - leak) * tanh(W x + b)."""

    num_directions = 1
    state_parts = ("hidden",)

    def __init__(self, input_size: int, hidden_size: int, leak: float = 0.9) -> None:
        super().__init__()
        self.input_size = input_size
        self.output_size = hidden_size
        self.leak, self.inputs = leak, nn.Linear(input_size, hidden_size)

    def zero_state(self, x: Tensor) -> Tensor:
        return x.new_zeros(1, len(x), self.output_size)

    def forward(self, x: Tensor, lengths: Tensor | None = None, state: State | None = None) -> tuple[Tensor, State]:
        h = self.zero_state(x)[0] if state is None else torch.as_tensor(state)[0]
        lengths = torch.full((len(x),), x.size(1)) if lengths is None else lengths
        outputs = []
        for step, projected in enumerate(self.inputs(x).tanh().unbind(1)):
            inside = (step < lengths.to(x.device))[:, None]
            h = torch.where(inside, self.leak * h + (1 - self.leak) * projected, h)
            outputs.append(torch.where(inside, h, 0))
        return torch.stack(outputs, 1), h[None]
