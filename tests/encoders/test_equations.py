"""Both backends against the equations, step by step."""

import pytest
import torch

from unroll.encoders import CELLS
from unroll.encoders.reference import trace


def read(cell, parameters):
    """The reference as a function of (x, lengths, state)."""

    def forward(x, lengths, state):
        found = trace(cell, parameters, x, lengths, state)
        return found.output, found.state

    return forward


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
        expected = measure(read(cell, parameters), parameters, x, lengths, before)
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
    expected = measure(read(cell, parameters), parameters, x, full, state)
    assert_same(measure(encoder, parameters, x, None, state), expected, 1e-10)
