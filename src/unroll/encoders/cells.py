"""The cells that torch has a kernel for: what sets them apart, besides their equations (`reference.py`)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

# A gate's pre-activation at which the sigmoid is exactly 0 or 1, and its slope exactly 0, in bf16 to float64.
_SHUT, _OPEN = -1e4, 1e4


@dataclass(frozen=True)
class Cell:
    """A cell, as `RecurrentEncoder` runs it."""

    kernel: Any  # torch.lstm and the like
    gates: tuple[str, ...]  # the blocks of its weights, in torch's order
    state_parts: tuple[str, ...] = ("hidden",)
    initial_bias: Mapping[str, float] = field(default_factory=dict)
    """By gate; zero where none is given."""
    hold: Mapping[str, float] = field(default_factory=dict)
    """Pre-activations by gate that hold the state in the padding, zero where none is given; -inf stands for the lowest
    number that the weights' precision has to spare. The units are saturated there: no gradient passes through them.
    A cell without any can't be held."""
    hold_forward: bool = False  # also where rows are read forward, and the padding comes last
    compiled_by_shape: bool = False  # its CPU kernel is compiled for each number of steps that it meets


CELLS = {
    "rnn_tanh": Cell(torch.rnn_tanh, ("hidden",)),
    # The state could grow beyond all bounds in the padding, and then make the gradient NaN; it is pushed to zero.
    "rnn_relu": Cell(torch.rnn_relu, ("hidden",), hold={"hidden": -math.inf}, hold_forward=True),
    # The state stays zero before the row's last step, read backwards.
    "gru": Cell(torch.gru, ("reset_gate", "update_gate", "candidate"), hold={"update_gate": _OPEN}),
    # The cell stays as it was after the row's own last step, which the kernel's final state is; and zero, before the
    # row's last step, where rows are read backwards. The forget gate starts open (Jozefowicz et al. 2015).
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
