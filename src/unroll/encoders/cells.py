"""The cells that torch has kernels for. Their equations are in `reference.py`; what else sets them apart is here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

# Pre-activations at which a sigmoid is exactly 0 or 1 and its slope exactly 0, in every precision from bf16 to float64.
_SHUT, _OPEN = -1e4, 1e4


@dataclass(frozen=True)
class Cell:
    """How `RecurrentEncoder` runs a cell."""

    kernel: Any  # torch.lstm and the like
    gates: tuple[str, ...]  # the blocks of its weights, in torch's order
    state_parts: tuple[str, ...] = ("hidden",)
    initial_bias: Mapping[str, float] = field(default_factory=dict)  # by gate; 0 for the others
    hold: Mapping[str, float] = field(default_factory=dict)
    """What a step of padding adds to the pre-activations, by gate; 0 for the others. It saturates the gates: what they
    guard stays as it is (see each cell below), and no gradient passes. -inf means the lowest number that the weights'
    precision has room for. A cell without `hold` can't be held."""
    hold_forward: bool = False  # use `hold` in the forward direction too, where the padding comes last
    compiled_by_shape: bool = False  # its CPU kernel is compiled anew for each number of steps

    def run(self, x: Tensor, *arguments: Any) -> Sequence[Tensor]:
        """Call the kernel. Where autocast asks for a precision that the CPU has no instructions for, it computes in
        float32, and its results are rounded: there torch's LSTM fails, and its other kernels take far longer."""
        dtype = torch.get_autocast_dtype("cpu")
        if x.device.type != "cpu" or not torch.is_autocast_enabled("cpu") or _computes_in(dtype):
            results: Sequence[Tensor] = self.kernel(x, *arguments)
            return results
        with torch.autocast("cpu", enabled=False):
            results = self.kernel(_widened(x), *map(_widened, arguments))
        return [result.to(dtype) for result in results]


def _computes_in(dtype: torch.dtype) -> bool:
    """Return whether this CPU has instructions for a precision of autocast."""
    asked = torch.ops.mkldnn
    return bool(asked._is_mkldnn_bf16_supported() if dtype == torch.bfloat16 else asked._is_mkldnn_fp16_supported())


def _widened(argument: Any) -> Any:
    """Return an argument of a kernel with its narrow tensors as float32."""
    if isinstance(argument, list | tuple):
        return type(argument)(map(_widened, argument))
    is_narrow = isinstance(argument, Tensor) and argument.dtype in (torch.bfloat16, torch.float16)
    return argument.float() if is_narrow else argument


CELLS = {
    "rnn_tanh": Cell(torch.rnn_tanh, ("hidden",)),
    # The padding sets the state to zero. There it could otherwise overflow, and the gradient would be NaN.
    "rnn_relu": Cell(torch.rnn_relu, ("hidden",), hold={"hidden": -math.inf}, hold_forward=True),
    # Backward rows begin with their padding: the state stays zero until the row's last step.
    "gru": Cell(torch.gru, ("reset_gate", "update_gate", "candidate"), hold={"update_gate": _OPEN}),
    # Forward, the cell state stays as it was at the row's last step, so the kernel's final cell state is the right one.
    # Backward, it stays zero until the row's last step. The forget gate starts open (Jozefowicz et al. 2015).
    "lstm": Cell(
        torch.lstm,
        ("input_gate", "forget_gate", "candidate", "output_gate"),
        state_parts=("hidden", "cell"),
        initial_bias={"forget_gate": 1.0},
        hold={"input_gate": _SHUT, "forget_gate": _OPEN},
        hold_forward=True,
        compiled_by_shape=True,
    ),
}
