"""The reference cells against a loop over torch.nn's, a row and a step at a time, and what they name."""

import pytest
import torch
from torch import nn

from unroll.encoders import CELLS, RecurrentEncoder
from unroll.encoders.reference import trace

MODULES = {"rnn_tanh": nn.RNNCell, "rnn_relu": nn.RNNCell, "gru": nn.GRUCell, "lstm": nn.LSTMCell}
NAMES = {
    "rnn_tanh": {"input_projection", "recurrent_projection", "hidden"},
    "rnn_relu": {"input_projection", "recurrent_projection", "hidden"},
    "gru": {"input_projection", "recurrent_projection", "reset_gate", "update_gate", "candidate", "hidden"},
    "lstm": {
        "input_projection",
        "recurrent_projection",
        "input_gate",
        "forget_gate",
        "output_gate",
        "candidate",
        "cell",
        "hidden",
    },
}


def torch_cell(cell, parameters, place):
    """torch.nn's cell with the weights of one layer and direction."""
    weight = parameters[f"weight_ih_{place}"]
    hidden = parameters[f"weight_hh_{place}"].size(1)
    options = {"nonlinearity": cell.removeprefix("rnn_")} if cell.startswith("rnn") else {}
    module = MODULES[cell](weight.size(1), hidden, **options).double()
    module.load_state_dict({k: parameters[f"{k}_{place}"] for k in module.state_dict()})
    return module


def by_torch_cells(cell, parameters, row, layers, directions, states):
    """Read a row (time, features) in a loop over torch's cells; `states` holds a tuple per layer and direction."""
    finals = []
    for layer in range(layers):
        outputs = []
        for direction in range(directions):
            module = torch_cell(cell, parameters, f"l{layer}" + ("_reverse" if direction else ""))
            state = states[len(finals)]
            found = {}
            for t in reversed(range(len(row))) if direction else range(len(row)):
                after = module(row[t][None], state if cell == "lstm" else state[0])
                state = after if cell == "lstm" else (after,)
                found[t] = state[0][0]
            finals.append(state)
            outputs.append(torch.stack([found[t] for t in range(len(row))]))
        row = torch.cat(outputs, dim=1)
    return row, finals


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("cell", CELLS)
def test_a_loop_over_torchs_cells_gives_the_same(make_encoder, make_state, cell, layers, bidirectional):
    encoder = make_encoder(cell, 3, 4, layers, bidirectional, dtype=torch.float64)
    parameters = {name: value.detach() for name, value in encoder.named_parameters()}
    x, lengths = torch.randn(4, 6, 3, dtype=torch.float64), torch.tensor([2, 6, 1, 4])
    state = make_state(encoder, 4)
    parts = state if cell == "lstm" else (state,)
    found = trace(cell, parameters, x, lengths, state)
    finals = found.state if cell == "lstm" else (found.state,)
    for i, length in enumerate(lengths.tolist()):
        before = [tuple(part[k, i : i + 1] for part in parts) for k in range(len(parts[0]))]
        row, after = by_torch_cells(cell, parameters, x[i, :length], layers, 1 + bidirectional, before)
        torch.testing.assert_close(found.output[i, :length], row, rtol=0, atol=1e-10)
        assert not found.output[i, length:].any()
        for place, expected in enumerate(after):
            for part, value in zip(finals, expected, strict=True):
                torch.testing.assert_close(part[place, i], value[0], rtol=0, atol=1e-10)


@pytest.mark.parametrize("cell", CELLS)
def test_every_step_has_its_quantities_by_name_and_they_make_up_the_result(make_encoder, cell):
    encoder = make_encoder(cell, 3, 4, 2, dtype=torch.float64)
    parameters = dict(encoder.named_parameters())
    x = torch.randn(2, 5, 3, dtype=torch.float64)
    found = trace(cell, parameters, x)
    assert len(found.steps) == 2
    for steps in found.steps:
        assert len(steps) == 5
        assert all(set(step) == NAMES[cell] for step in steps)
    top = torch.stack([step["hidden"] for step in found.steps[1]], dim=1)
    torch.testing.assert_close(found.output, top)
    first = found.steps[0][2]
    torch.testing.assert_close(first["input_projection"], x[:, 2] @ encoder.weight_ih_l0.T + encoder.bias_ih_l0)
    for name in NAMES[cell]:
        if name.endswith("gate"):
            assert ((first[name] > 0) & (first[name] < 1)).all()
    if cell == "lstm":
        last, now = found.steps[0][1], first
        expected = now["forget_gate"] * last["cell"] + now["input_gate"] * now["candidate"]
        torch.testing.assert_close(now["cell"], expected)
        torch.testing.assert_close(now["hidden"], now["output_gate"] * torch.tanh(now["cell"]))
    if cell == "gru":
        expected = (1 - first["update_gate"]) * first["candidate"] + first["update_gate"] * found.steps[0][1]["hidden"]
        torch.testing.assert_close(first["hidden"], expected)


def test_biases_that_are_missing_are_zero():
    weights = {"weight_ih_l0": torch.tensor([[0.5]]), "weight_hh_l0": torch.tensor([[0.5]])}
    assert trace("rnn_relu", weights, torch.ones(1, 2, 1)).output.flatten().tolist() == [0.5, 0.75]


def test_an_unknown_cell_is_named():
    with pytest.raises(ValueError, match="unknown cell 'lsmt'; there are rnn_tanh, rnn_relu, gru, lstm"):
        trace("lsmt", dict(RecurrentEncoder("lstm", 1, 1).named_parameters()), torch.ones(1, 1, 1))
