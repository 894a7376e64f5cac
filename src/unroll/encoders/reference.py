"""The equations of RNN, GRU, LSTM and minGRU, one step at a time, with every quantity by name.

This code is slow and plain on purpose: the tests compare the encoders with it, and the diagnostics look inside the
recurrence through it. The equations are those of torch.nn: the GRU of Cho et al. 2014 (arXiv:1406.1078) with the reset
gate applied after the recurrent product, and the LSTM of Hochreiter & Schmidhuber 1997 with the forget gate of Gers et
al. 2000.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from unroll.encoders.cells import CELLS
from unroll.encoders.interface import Step, Trace
from unroll.encoders.state import State, as_parts, as_state


@dataclass(frozen=True)
class Weights:
    """The weights of one layer in one direction. Each stacks its gates in torch.nn's order."""

    weight_ih: Tensor  # (gates x hidden, features)
    weight_hh: Tensor  # (gates x hidden, hidden)
    bias_ih: Tensor  # (gates x hidden,)
    bias_hh: Tensor  # (gates x hidden,)


def rnn_tanh(x: Tensor, before: Step, weights: Weights) -> Step:
    """h' = tanh(W_ih x + b_ih + W_hh h + b_hh)."""
    step = _projections(x, before, weights)
    return step | {"hidden": torch.tanh(step["input_projection"] + step["recurrent_projection"])}


def rnn_relu(x: Tensor, before: Step, weights: Weights) -> Step:
    """h' = max(0, W_ih x + b_ih + W_hh h + b_hh)."""
    step = _projections(x, before, weights)
    return step | {"hidden": torch.relu(step["input_projection"] + step["recurrent_projection"])}


def gru(x: Tensor, before: Step, weights: Weights) -> Step:
    """r = sigmoid(W_ir x + b_ir + W_hr h + b_hr), z likewise, n = tanh(W_in x + b_in + r (W_hn h + b_hn)) and
    h' = (1 - z) n + z h."""
    step = _projections(x, before, weights)
    of_x, of_h = step["input_projection"].chunk(3, dim=1), step["recurrent_projection"].chunk(3, dim=1)
    reset, update = torch.sigmoid(of_x[0] + of_h[0]), torch.sigmoid(of_x[1] + of_h[1])
    candidate = torch.tanh(of_x[2] + reset * of_h[2])
    hidden = (1 - update) * candidate + update * before["hidden"]
    return step | {"reset_gate": reset, "update_gate": update, "candidate": candidate, "hidden": hidden}


def lstm(x: Tensor, before: Step, weights: Weights) -> Step:
    """i = sigmoid(W_ii x + b_ii + W_hi h + b_hi), f and o likewise, g = tanh(W_ig x + b_ig + W_hg h + b_hg),
    c' = f c + i g, h' = o tanh(c')."""
    step = _projections(x, before, weights)
    gates = (step["input_projection"] + step["recurrent_projection"]).chunk(4, dim=1)
    input_gate, forget_gate, output_gate = (torch.sigmoid(gates[place]) for place in (0, 1, 3))
    candidate = torch.tanh(gates[2])
    cell = forget_gate * before["cell"] + input_gate * candidate
    return step | {
        "input_gate": input_gate,
        "forget_gate": forget_gate,
        "output_gate": output_gate,
        "candidate": candidate,
        "cell": cell,
        "hidden": output_gate * torch.tanh(cell),
    }


def min_gru(x: Tensor, before: Step, weight: Tensor, bias: Tensor) -> Step:
    """z = sigmoid(W_z x + b_z), n = g(W_h x + b_h) and h' = (1 - z) h + z n, with g = `positive` (Feng et al. 2024,
    arXiv:2410.01201). `weight` (2 x hidden, features) is W_z above W_h, `bias` likewise."""
    of_gate, of_candidate = (x @ weight.T + bias).chunk(2, dim=1)
    update, candidate = torch.sigmoid(of_gate), positive(of_candidate)
    hidden = (1 - update) * before["hidden"] + update * candidate
    return {"update_gate": update, "candidate": candidate, "hidden": hidden}


def positive(x: Tensor) -> Tensor:
    """g(x) = x + 0.5 where x is at least 0, sigmoid(x) below."""
    return torch.where(x >= 0, x + 0.5, torch.sigmoid(x))


EQUATIONS = {"rnn_tanh": rnn_tanh, "rnn_relu": rnn_relu, "gru": gru, "lstm": lstm}


def trace(
    cell: str,
    parameters: Mapping[str, Tensor],
    x: Tensor,
    lengths: Tensor | None = None,
    state: State | None = None,
) -> Trace:
    """Run a cell of torch.nn over a batch of right-padded rows, step by step.

    >>> module = torch.nn.LSTM(8, 16, batch_first=True)
    >>> found = trace("lstm", dict(module.named_parameters()), torch.randn(2, 5, 8))
    >>> found.steps[0][3]["forget_gate"].shape
    torch.Size([2, 16])

    Args:
        cell: one of `EQUATIONS`.
        parameters: weights by torch.nn's names (`weight_ih_l0`, `weight_hh_l1_reverse`, …). The names say how many
            layers and directions there are. A missing bias is zero.
        x: (batch, time, features).
        lengths: (batch,) steps of each row, between 1 and time; None means that every row is full.
        state: the state before the first step; None means zeros.

    Raises:
        ValueError: the cell is unknown.
    """
    if cell not in EQUATIONS:
        raise ValueError(f"unknown cell '{cell}'; there are {', '.join(EQUATIONS)}")
    directions = 2 if "weight_ih_l0_reverse" in parameters else 1
    layers = sum(name.startswith("weight_ih_l") for name in parameters) // directions
    places = [f"l{layer}{suffix}" for layer in range(layers) for suffix in ("", "_reverse")[:directions]]
    weights = [_weights(parameters, place) for place in places]
    parts = CELLS[cell].state_parts
    if state is None:
        state = as_state([x.new_zeros(len(places), len(x), weights[0].weight_hh.size(1))] * len(parts))
    return read([partial(EQUATIONS[cell], weights=each) for each in weights], parts, directions, x, lengths, state)


def read(
    cells: Sequence[Callable[[Tensor, Step], Step]],
    parts: tuple[str, ...],
    directions: int,
    x: Tensor,
    lengths: Tensor | None,
    state: State,
) -> Trace:
    """Run equations over a batch of right-padded rows, step by step, as `Encoder.trace` needs it.

    Args:
        cells: for each layer and direction, a function (x of a step, state by the names of its parts) -> `Step`.
        parts: names of the state's parts; one is `hidden`.
        directions: 1 or 2.
        x: (batch, time, features).
        lengths: (batch,) steps of each row, between 1 and time; None means that every row is full.
        state: the state before the first step.
    """
    lengths = torch.full((len(x),), x.size(1)) if lengths is None else lengths
    steps: list[list[Step]] = []
    finals: list[Step] = []
    for first in range(0, len(cells), directions):
        outputs = []
        for place in range(first, first + directions):
            before = {name: part[place] for name, part in zip(parts, as_parts(state), strict=True)}
            found, output, final = _one_direction(cells[place], x, before, lengths.to(x.device), place > first)
            steps.append(found)
            outputs.append(output)
            finals.append(final)
        x = torch.cat(outputs, dim=2)
    return Trace(steps, x, as_state([torch.stack([final[name] for final in finals]) for name in parts]))


def _one_direction(
    cell: Callable[[Tensor, Step], Step], x: Tensor, before: Step, lengths: Tensor, backward: bool
) -> tuple[list[Step], Tensor, Step]:
    """Return one layer in one direction: its steps by time, its outputs, and the state after each row's last step."""
    time = x.size(1)
    steps: list[Step] = [{}] * time
    outputs = [x.new_zeros(0)] * time
    for t in reversed(range(time)) if backward else range(time):
        inside = (t < lengths)[:, None]  # rows with a step at t; the others keep their state
        step = steps[t] = cell(x[:, t], before)
        outputs[t] = torch.where(inside, step["hidden"], 0)
        before = {name: torch.where(inside, step[name], part) for name, part in before.items()}
    return steps, torch.stack(outputs, dim=1), before


def _projections(x: Tensor, before: Step, weights: Weights) -> Step:
    return {
        "input_projection": x @ weights.weight_ih.T + weights.bias_ih,
        "recurrent_projection": before["hidden"] @ weights.weight_hh.T + weights.bias_hh,
    }


def _weights(parameters: Mapping[str, Tensor], place: str) -> Weights:
    weight_ih, weight_hh = parameters[f"weight_ih_{place}"], parameters[f"weight_hh_{place}"]
    zeros = weight_ih.new_zeros(len(weight_ih))
    biases = (parameters.get(f"{name}_{place}", zeros) for name in ("bias_ih", "bias_hh"))
    return Weights(weight_ih, weight_hh, *biases)
