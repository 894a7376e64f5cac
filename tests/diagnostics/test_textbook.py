"""Published figures of small recurrences, recomputed in float64 in four ways that share no code for the recurrence."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from tests.diagnostics.published import FIGURES
from unroll.encoders import RecurrentEncoder
from unroll.encoders.reference import trace

Case = dict[str, Any]


class Reading(NamedTuple):
    """What one of the ways computes for a row."""

    output: Tensor  # (time, directions x hidden)
    final: Tensor  # (layers x directions, hidden), the hidden state after the last step
    parameters: dict[str, Tensor]  # by torch.nn's names


def by_reference(encoder: RecurrentEncoder, x: Tensor) -> Reading:
    parameters = dict(encoder.named_parameters())
    found = trace(encoder.cell, parameters, x[None])
    return Reading(found.output[0], hidden(found.state), parameters)


def by_torch(encoder: RecurrentEncoder, x: Tensor) -> Reading:
    make = {"lstm": nn.LSTM, "gru": nn.GRU}.get(encoder.cell, nn.RNN)
    options = {"nonlinearity": encoder.cell.removeprefix("rnn_")} if make is nn.RNN else {}
    sizes = encoder.input_size, encoder.hidden_size, encoder.num_layers
    module = make(*sizes, batch_first=True, bidirectional=encoder.bidirectional, **options).to(x.dtype)
    module.load_state_dict(encoder.state_dict())
    output, state = module(x[None])
    return Reading(output[0], hidden(state), dict(module.named_parameters()))


def by_backend(name: str) -> Callable[[RecurrentEncoder, Tensor], Reading]:
    def read(encoder: RecurrentEncoder, x: Tensor) -> Reading:
        """Two steps of padding follow the row, so the backends have to handle them."""
        encoder.backend = name
        padded = torch.cat([x, x.new_ones(2, x.size(1))])[None]
        output, state = encoder(padded, torch.tensor([len(x)]))
        return Reading(output[0, : len(x)], hidden(state), dict(encoder.named_parameters()))

    return read


WAYS = {
    "reference": by_reference,
    "torch.nn": by_torch,
    "packed": by_backend("packed"),
    "padded": by_backend("padded"),
}


def hidden(state: Any) -> Tensor:
    return (state[0] if isinstance(state, tuple) else state)[:, 0]


def tensor(value: Any) -> Tensor:
    return torch.as_tensor(value, dtype=torch.float64)


def encoder_of(sizes: list[Any], weights: dict[str, Any]) -> RecurrentEncoder:
    encoder = RecurrentEncoder(*sizes).double()
    biases = {name: torch.zeros_like(value) for name, value in encoder.state_dict().items() if "bias" in name}
    encoder.load_state_dict(biases | {name: tensor(value) for name, value in weights.items()})
    return encoder


def forward(case: Case, way: str) -> dict[str, Tensor]:
    sizes = [case[name] for name in ("cell", "input_size", "hidden_size", "num_layers", "bidirectional")]
    found = WAYS[way](encoder_of(sizes, case["weights"]), tensor(case["x"]))
    lowest = {name: value for name, value in case["weights"].items() if "_l0" in name}
    alone = WAYS[way](encoder_of([*sizes[:3], 1, sizes[4]], lowest), tensor(case["x"]))
    return {"output": found.output, "h_n": found.final, "output_layer_0": alone.output}


def seeded(case: Case, way: str) -> dict[str, Tensor]:
    """torch's own weights, drawn right after the seed. The figures called wrong come from a known mistake: they use the
    recurrent bias in place of the input's."""
    torch.manual_seed(1)
    weights = {name: value.double() for name, value in nn.RNN(5, 2, 1, batch_first=True).state_dict().items()}
    slip = weights | {"bias_ih_l0": weights["bias_hh_l0"]}
    x = tensor(case["x"])

    def projection(weights: dict[str, Tensor]) -> Tensor:
        return torch.cat([step["input_projection"] for step in trace("rnn_tanh", weights, x[None]).steps[0]])

    return {
        "input_projection": projection(weights),
        "output": WAYS[way](encoder_of(["rnn_tanh", 5, 2], weights), x).output,
        "wrong_projection_if_b_hh_is_used_for_b_ih": projection(slip),
        "wrong_output_if_b_hh_is_used_twice": WAYS[way](encoder_of(["rnn_tanh", 5, 2], slip), x).output,
    }


def gradients(case: Case, way: str) -> dict[str, Tensor]:
    """One unit with equal weights reads ones; the loss is its last hidden state, or the last of each window."""
    gates = {"lstm": 4, "gru": 3}.get(case["cell"], 1)
    weight = torch.full((gates, 1), case["weight"], dtype=torch.float64)
    encoder = encoder_of([case["cell"], 1, 1], {"weight_ih_l0": weight, "weight_hh_l0": weight})
    x = torch.ones(case["steps"], 1, dtype=torch.float64, requires_grad=True)
    readings = [WAYS[way](encoder, window) for window in torch.split(x, case["window"] or case["steps"])]
    loss = torch.stack([reading.final.sum() for reading in readings]).sum()
    of = {"grad_x": x, **{f"grad_{name}": readings[0].parameters[f"{name}_l0"] for name in ("weight_hh", "weight_ih")}}
    found = dict(zip(of, torch.autograd.grad(loss, list(of.values())), strict=True))
    return found | {"hidden": torch.cat([reading.output for reading in readings]), "h_n": loss}


# The inputs of a case; everything else in it is a figure.
GIVEN = {"name", "cell", "input_size", "hidden_size", "num_layers", "bidirectional", "bias", "weights", "x"}
GIVEN |= {"steps", "window", "weight", "atol", "rtol"}

CASES: dict[str, tuple[Callable[[Case, str], dict[str, Tensor]], Case]] = {
    case["name"]: (compute, case)
    for compute, cases in (
        (forward, FIGURES["forward"]),
        (seeded, [FIGURES["seeded"]]),
        (gradients, FIGURES["gradients"]),
    )
    for case in cases
}


def differing(name: str, way: str, case: Case | None = None) -> set[str]:
    """The figures of a case that a way misses by more than their rounding."""
    compute, published = CASES[name]
    case = case or published
    found, wrong = compute(case, way), set()
    for figure in case.keys() - GIVEN:
        expected = tensor(case[figure])
        actual = found[figure].detach().reshape(expected.shape)
        if not torch.allclose(actual, expected, rtol=case.get("rtol", 0), atol=case.get("atol", 0)):
            wrong.add(figure)
    return wrong


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", CASES)
def test_every_figure_agrees(name: str, way: str) -> None:
    assert differing(name, way) == set()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("name", "path", "by"),
    [
        ("rnn_3_features_2_hidden", ["output", 3, 1], 0.002),
        ("birnn_3_features_2_hidden", ["h_n", 0, 0], -0.001),
        ("birnn_3_features_2_hidden", ["weights", "bias_hh_l0_reverse", 0], 0.01),
        ("seeded_rnn_5_features_2_hidden", ["output", 2, 1], 1e-5),
        ("exploding_relu_rnn_weight_11", ["grad_x", 0], 100),
        ("vanishing_tanh_rnn_weight_half", ["grad_x", 3], 1e-12),
        ("truncated_windows_of_5_tanh_rnn_weight_half", ["grad_x", 5], 0.001),
        ("lstm_weight_half", ["grad_weight_hh", 2], 0.001),
        ("lstm_weight_half", ["h_n"], math.nan),
    ],
)
def test_a_figure_beyond_its_rounding_differs(name: str, path: list[Any], by: float, way: str) -> None:
    case = copy.deepcopy(CASES[name][1])
    place = case
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] += by
    assert differing(name, way, case)


def test_the_shapes_are_those_published() -> None:
    """Published with time first; here the outputs have the batch first, as in torch.nn with `batch_first`."""
    case = FIGURES["shapes"]
    encoder = RecurrentEncoder("rnn_tanh", case["input_size"], case["hidden_size"], case["num_layers"])
    output, state = encoder(torch.zeros(case["batch_size"], case["sequence_length"], case["input_size"]))
    assert list(output.transpose(0, 1).shape) == case["output_shape"]
    assert list(state.shape) == case["h_n_shape"]
    assert list(output[:, 0].shape) == case["cell_step_shape"]
