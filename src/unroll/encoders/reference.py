"""RNN, GRU and LSTM as their equations, one step at a time, with everything in between by name.

Slow and plain on purpose: what `RecurrentEncoder` must agree with, and what can be looked into. The equations are those
of torch.nn (the GRU's is Cho et al. 2014, arXiv:1406.1078, with the reset gate after the recurrent product; the LSTM's
Hochreiter & Schmidhuber 1997 with the forget gate of Gers et al. 2000).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from unroll.encoders.recurrent import State

Step = dict[str, Tensor]  # the quantities of one step by name, each (batch, features)


@dataclass(frozen=True)
class Weights:
    """Of one layer in one direction; the gates of each are stacked in torch.nn's order."""

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


CELLS: dict[str, Callable[[Tensor, Step, Weights], Step]] = {
    "rnn_tanh": rnn_tanh,
    "rnn_relu": rnn_relu,
    "gru": gru,
    "lstm": lstm,
}


@dataclass(frozen=True)
class Trace:
    """All that happened while a batch was read."""

    steps: list[list[Step]]
    """`steps[layer * directions + direction][t]`: what layer and direction computed at time t. Beyond a row's length it
    is computed as well, and has no influence on anything."""
    output: Tensor  # (batch, time, directions x hidden), as RecurrentEncoder returns it
    state: State  # (layers x directions, batch, hidden), for an LSTM the pair (h, c)


def trace(
    cell: str,
    parameters: Mapping[str, Tensor],
    x: Tensor,
    lengths: Tensor | None = None,
    state: State | None = None,
) -> Trace:
    """Read a batch of right-padded rows, step by step.

    >>> encoder = RecurrentEncoder("lstm", 8, 16)  # doctest: +SKIP
    >>> trace("lstm", dict(encoder.named_parameters()), x).steps[0][3]["forget_gate"]  # doctest: +SKIP

    Args:
        cell: one of `CELLS`.
        parameters: by torch.nn's names (`weight_ih_l0`, `weight_hh_l1_reverse`, …), which say how many layers and
            directions there are; biases that are missing are zero.
        x: (batch, time, features).
        lengths: (batch,) steps of each row, between 1 and time; None where every row is full.
        state: before the first step; None is zeros.

    Raises:
        ValueError: an unknown cell.
    """
    if cell not in CELLS:
        raise ValueError(f"unknown cell '{cell}'; there are {', '.join(CELLS)}")
    lengths = torch.full((len(x),), x.size(1), device=x.device) if lengths is None else lengths
    parts = () if state is None else state if isinstance(state, tuple) else (state,)
    directions = 2 if "weight_ih_l0_reverse" in parameters else 1
    layers = sum(name.startswith("weight_ih_l") for name in parameters) // directions
    steps: list[list[Step]] = []
    finals: list[Step] = []
    for layer in range(layers):
        outputs = []
        for direction in range(directions):
            weights = _weights(parameters, f"l{layer}" + ("_reverse" if direction else ""))
            zeros = x.new_zeros(len(x), weights.weight_hh.size(1))
            before = {"hidden": zeros, "cell": zeros}
            before |= {name: part[len(finals)] for name, part in zip(("hidden", "cell"), parts, strict=False)}
            found, output, final = _one_direction(CELLS[cell], x, before, weights, lengths, backward=direction == 1)
            steps.append(found)
            outputs.append(output)
            finals.append(final)
        x = torch.cat(outputs, dim=2)
    h = torch.stack([final["hidden"] for final in finals])
    if cell != "lstm":
        return Trace(steps, x, h)
    return Trace(steps, x, (h, torch.stack([final["cell"] for final in finals])))


def _one_direction(
    cell: Callable[[Tensor, Step, Weights], Step],
    x: Tensor,
    before: Step,
    weights: Weights,
    lengths: Tensor,
    backward: bool,
) -> tuple[list[Step], Tensor, Step]:
    """All steps of one layer in one direction by time, the outputs, and the state after each row's end."""
    time = x.size(1)
    steps: list[Step] = [{}] * time
    outputs = [x.new_zeros(0)] * time
    for t in reversed(range(time)) if backward else range(time):
        inside = (t < lengths)[:, None]  # rows that have a step here; the others stay as they are
        step = steps[t] = cell(x[:, t], before, weights)
        outputs[t] = torch.where(inside, step["hidden"], 0)
        before = {name: torch.where(inside, step.get(name, part), part) for name, part in before.items()}
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
