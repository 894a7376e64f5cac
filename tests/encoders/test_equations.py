"""Both backends against the equations, written out step by step for one row at a time."""

import pytest
import torch
from torch import Tensor

from unroll.encoders import CELLS

State = tuple[Tensor, ...]  # (h,), or the LSTM's (h, c)


def step(cell: str, x: Tensor, state: State, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor) -> State:
    """One step of one layer in one direction; `x` is (features,), each part of the state (hidden,)."""
    h, size = state[0], w_hh.size(1)
    if cell in ("rnn_tanh", "rnn_relu"):
        squash = torch.tanh if cell == "rnn_tanh" else torch.relu
        return (squash(w_ih @ x + b_ih + w_hh @ h + b_hh),)
    by_gate = [range(k * size, (k + 1) * size) for k in range(len(w_ih) // size)]
    from_x = [w_ih[list(gate)] @ x + b_ih[list(gate)] for gate in by_gate]
    from_h = [w_hh[list(gate)] @ h + b_hh[list(gate)] for gate in by_gate]
    if cell == "gru":
        reset = torch.sigmoid(from_x[0] + from_h[0])
        keep = torch.sigmoid(from_x[1] + from_h[1])
        new = torch.tanh(from_x[2] + reset * from_h[2])
        return ((1 - keep) * new + keep * h,)
    let_in = torch.sigmoid(from_x[0] + from_h[0])
    forget = torch.sigmoid(from_x[1] + from_h[1])
    candidate = torch.tanh(from_x[2] + from_h[2])
    let_out = torch.sigmoid(from_x[3] + from_h[3])
    c = forget * state[1] + let_in * candidate
    return let_out * torch.tanh(c), c


def read_row(cell: str, parameters: dict[str, Tensor], row: list[Tensor], states: list[State]) -> tuple:
    """All layers over one row: its outputs, and the state of each layer and direction after it."""
    directions = 2 if "weight_ih_l0_reverse" in parameters else 1
    after = []
    for layer in range(len(states) // directions):
        outputs: list[list[Tensor]] = [[] for _ in row]
        for direction in range(directions):
            suffix = f"l{layer}" + ("_reverse" if direction else "")
            weights = [parameters[f"{name}_{suffix}"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
            state = states[layer * directions + direction]
            for t in reversed(range(len(row))) if direction else range(len(row)):
                state = step(cell, row[t], state, *weights)
                outputs[t].append(state[0])
            after.append(state)
        row = [torch.cat(parts) for parts in outputs]
    return row, after


def read_batch(cell: str, parameters: dict[str, Tensor], x: Tensor, lengths: Tensor, state: object) -> tuple:
    """Row by row; each only as long as it is."""
    parts = state if isinstance(state, tuple) else (state,)
    rows, states = [], []
    for i, length in enumerate(lengths.tolist()):
        before = [tuple(part[k, i] for part in parts) for k in range(len(parts[0]))]
        outputs, after = read_row(cell, parameters, [x[i, t] for t in range(length)], before)
        rows.append(torch.stack(outputs + [torch.zeros_like(outputs[0])] * (x.size(1) - length)))
        states.append(after)
    finals = tuple(
        torch.stack([torch.stack([row[k][p] for row in states]) for k in range(len(parts[0]))])
        for p in range(len(parts))
    )
    return torch.stack(rows), finals if isinstance(state, tuple) else finals[0]


@pytest.mark.parametrize("backend", ["packed", "padded"])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("cell", CELLS)
def test_equations(make_encoder, make_state, measure, assert_same, cell, num_layers, bidirectional, backend):
    encoder = make_encoder(cell, 3, 4, num_layers, bidirectional, backend=backend, dtype=torch.float64)
    parameters = dict(encoder.named_parameters())
    x, lengths = torch.randn(4, 6, 3, dtype=torch.float64), torch.tensor([2, 5, 1, 4])
    for state in (make_state(encoder, 4), None):
        zeros = torch.zeros(num_layers * (1 + bidirectional), 4, 4, dtype=torch.float64)
        before = state if state is not None else (zeros, zeros) if cell == "lstm" else zeros
        expected = measure(lambda *given: read_batch(cell, parameters, *given), parameters, x, lengths, before)
        actual = measure(encoder, parameters, x, lengths, state)
        if state is None:
            expected = {name: value for name, value in expected.items() if "initial" not in name}
        assert_same(actual, expected, 1e-10)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_equations_of_full_rows(make_encoder, make_state, measure, assert_same, cell, bidirectional):
    encoder = make_encoder(cell, 3, 4, 2, bidirectional, dtype=torch.float64)
    parameters = dict(encoder.named_parameters())
    x, state = torch.randn(2, 5, 3, dtype=torch.float64), make_state(encoder, 2)
    full = torch.tensor([5, 5])
    expected = measure(lambda *given: read_batch(cell, parameters, *given), parameters, x, full, state)
    assert_same(measure(encoder, parameters, x, None, state), expected, 1e-10)
