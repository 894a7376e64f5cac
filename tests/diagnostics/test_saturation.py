"""Shares of saturated gates, against gates recomputed from what torch.nn's modules put out."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from unroll.diagnostics.saturation import places, saturation
from unroll.encoders.reference import trace

GATES = {"lstm": ["input_gate", "forget_gate", None, "output_gate"], "gru": ["reset_gate", "update_gate", None]}


@pytest.mark.parametrize("cell", GATES)
def test_the_shares_are_those_of_the_gates_that_torch_computed(cell: str) -> None:
    """A gate is a sigmoid of the step's input and the hidden state before it; the outputs of a layer are those."""
    module = {"lstm": nn.LSTM, "gru": nn.GRU}[cell](3, 4, batch_first=True, bidirectional=True).double()
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=3)
    parameters, x = dict(module.named_parameters()), torch.randn(5, 7, 3, dtype=torch.float64)
    with torch.no_grad():
        shares = saturation(trace(cell, parameters, x), directions=2)
        output, _ = module(x)
        expected = {}
        for place, outputs, inputs in (
            ("l0", output[..., :4], x),
            ("l0_reverse", output[..., 4:].flip(1), x.flip(1)),
        ):
            before = torch.cat([torch.zeros(5, 1, 4), outputs[:, :-1]], dim=1)
            of_x = inputs @ parameters[f"weight_ih_{place}"].T + parameters[f"bias_ih_{place}"]
            of_h = before @ parameters[f"weight_hh_{place}"].T + parameters[f"bias_hh_{place}"]
            for name, values in zip(GATES[cell], torch.sigmoid(of_x + of_h).chunk(len(GATES[cell]), 2), strict=True):
                if name:
                    expected[f"{name}_{place}"] = ((values < 0.05).sum() + (values > 0.95).sum()).item() / 140
    assert shares == pytest.approx(expected)
    assert all(0.1 < share < 0.9 for share in shares.values())


def test_a_net_without_gates_has_no_shares() -> None:
    module = nn.RNN(3, 4, batch_first=True)
    assert saturation(trace("rnn_tanh", dict(module.named_parameters()), torch.ones(1, 2, 3)), directions=1) == {}


def test_layers_and_directions_are_named_as_torch_names_them() -> None:
    names = [name.removeprefix("bias_ih_") for name, _ in nn.GRU(1, 1, 2, bidirectional=True).named_parameters()]
    assert places(4, 2) == [name for name in names if name.startswith("l")]
