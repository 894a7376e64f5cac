"""Published figures of small recurrences, recomputed by four ways that share no code for the recurrence itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import resources
from typing import Any

import torch
from torch import Tensor, nn

from unroll.encoders import RecurrentEncoder
from unroll.encoders.reference import trace

Case = dict[str, Any]

_MODULES: dict[str, tuple[type[nn.RNNBase], dict[str, str]]] = {
    "rnn_tanh": (nn.RNN, {"nonlinearity": "tanh"}),
    "rnn_relu": (nn.RNN, {"nonlinearity": "relu"}),
    "gru": (nn.GRU, {}),
    "lstm": (nn.LSTM, {}),
}


@dataclass(frozen=True)
class Comparison:
    """One published quantity against one way of computing it."""

    case: str
    way: str
    quantity: str
    difference: float  # the largest, relative where the case allows a relative one
    allowed: float  # the published rounding

    @property
    def passed(self) -> bool:
        return self.difference <= self.allowed  # so written that NaN fails


@dataclass(frozen=True)
class Reading:
    """What a way makes of a row."""

    output: Tensor  # (time, directions x hidden)
    final: Tensor  # (layers x directions, hidden), the hidden state after the last step
    parameters: dict[str, Tensor]  # what gradients can be taken of, by torch.nn's names


def _reference(encoder: RecurrentEncoder, x: Tensor) -> Reading:
    parameters = dict(encoder.named_parameters())
    found = trace(encoder.cell, parameters, x[None])
    return Reading(found.output[0], _hidden(found.state), dict(parameters))


def _torch_nn(encoder: RecurrentEncoder, x: Tensor) -> Reading:
    make, options = _MODULES[encoder.cell]
    sizes = encoder.input_size, encoder.hidden_size, encoder.num_layers
    module = make(*sizes, batch_first=True, bidirectional=encoder.bidirectional, **options).to(x.dtype)  # type: ignore[arg-type]
    module.load_state_dict(encoder.state_dict())
    output, state = module(x[None])
    return Reading(output[0], _hidden(state), dict(module.named_parameters()))


def _backend(name: str) -> Callable[[RecurrentEncoder, Tensor], Reading]:
    def read(encoder: RecurrentEncoder, x: Tensor) -> Reading:
        """With two steps of padding behind the row, so that the backends' own work is in it."""
        encoder.backend = name
        padded = torch.cat([x, x.new_ones(2, x.size(1))])[None]
        output, state = encoder(padded, torch.tensor([len(x)]))
        return Reading(output[0, : len(x)], _hidden(state), dict(encoder.named_parameters()))

    return read


WAYS: dict[str, Callable[[RecurrentEncoder, Tensor], Reading]] = {
    "reference": _reference,
    "torch.nn": _torch_nn,
    "packed": _backend("packed"),
    "padded": _backend("padded"),
}


def published() -> dict[str, Any]:
    """Return the figures, as their file has them."""
    figures: dict[str, Any] = json.loads(
        resources.files(__package__).joinpath("published.json").read_text(encoding="utf-8")
    )
    return figures


def compare(figures: dict[str, Any]) -> Iterator[Comparison]:
    """Recompute every case by every way, in float64."""
    for way in WAYS:
        for case in figures["forward"]:
            yield from _forward(case, way)
        yield from _seeded(figures["seeded"], way)
        for case in figures["gradients"]:
            yield from _gradients(case, way)
    yield from _shapes(figures["shapes"])


def _forward(case: Case, way: str) -> Iterator[Comparison]:
    sizes = [case[name] for name in ("cell", "input_size", "hidden_size", "num_layers", "bidirectional")]
    found = WAYS[way](_encoder(sizes, case["weights"]), _tensor(case["x"]))
    yield _comparison(case, way, "output", found.output)
    if "h_n" in case:
        yield _comparison(case, way, "h_n", found.final)
    if "output_layer_0" in case:
        lowest = {name: value for name, value in case["weights"].items() if name.endswith("_l0")}
        found = WAYS[way](_encoder([*sizes[:3], 1], lowest), _tensor(case["x"]))
        yield _comparison(case, way, "output_layer_0", found.output)


def seeded_weights() -> dict[str, Tensor]:
    """Return the weights of the seeded case: torch's own, drawn right after the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return nn.RNN(5, 2, 1, batch_first=True).state_dict()


def _seeded(case: Case, way: str) -> Iterator[Comparison]:
    weights = {name: value.double() for name, value in seeded_weights().items()}
    found = WAYS[way](_encoder(["rnn_tanh", 5, 2], weights), _tensor(case["x"]))
    yield _comparison(case, way, "output", found.output)
    if way == "reference":
        first = trace("rnn_tanh", weights, _tensor(case["x"])[None]).steps[0]
        yield _comparison(case, way, "input_projection", torch.cat([step["input_projection"] for step in first]))


def _gradients(case: Case, way: str) -> Iterator[Comparison]:
    """One unit that reads ones, all its weights the same; the loss is its last hidden state, or that of each window."""
    gates = {"lstm": 4, "gru": 3}.get(case["cell"], 1)
    weight = torch.full((gates, 1), case["weight"], dtype=torch.float64)
    encoder = _encoder([case["cell"], 1, 1], {"weight_ih_l0": weight, "weight_hh_l0": weight})
    x = torch.ones(case["steps"], 1, dtype=torch.float64, requires_grad=True)
    readings = [WAYS[way](encoder, window) for window in torch.split(x, case["window"] or case["steps"])]
    loss = torch.stack([reading.final.sum() for reading in readings]).sum()
    quantities = {"hidden": torch.cat([reading.output for reading in readings]), "h_n": loss}
    (quantities["grad_x"],) = torch.autograd.grad(loss, x, retain_graph=True)
    if case["window"] is None:  # no figures of weights are published for windows
        for name in ("weight_hh", "weight_ih"):
            (gradient,) = torch.autograd.grad(loss, readings[0].parameters[f"{name}_l0"], retain_graph=True)
            quantities[f"grad_{name}"] = gradient
    for name, value in quantities.items():
        if name in case:
            yield _comparison(case, way, name, value.flatten() if value.dim() else value)


def _shapes(case: Case) -> Iterator[Comparison]:
    """The published shapes are time first; the encoder's batch comes first in outputs, as in torch.nn with
    `batch_first`."""
    time, batch = case["sequence_length"], case["batch_size"]
    encoder = RecurrentEncoder("rnn_tanh", case["input_size"], case["hidden_size"], case["num_layers"])
    output, state = encoder(torch.zeros(batch, time, case["input_size"]))
    assert isinstance(state, Tensor)
    found = {
        "output_shape": list(output.transpose(0, 1).shape),
        "h_n_shape": list(state.shape),
        "cell_step_shape": list(output[:, 0].shape),
    }
    for name, shape in found.items():
        yield Comparison(case["name"], "encoder", name, float(shape != case[name]), 0.0)


def slips(weights: dict[str, Tensor], x: Tensor, figures: Tensor, atol: float) -> list[str]:
    """Return the well-known slips that turn the right outputs of a tanh RNN into the given ones.

    Args:
        weights: of one layer, by torch.nn's names.
        x: (time, features).
        figures: (time, hidden), that are not what the weights give: outputs, or input projections.
        atol: their rounding.
    """
    ways = {
        "b_hh is used in the place of b_ih": weights | {"bias_ih_l0": weights["bias_hh_l0"]},
        "b_ih is used in the place of b_hh": weights | {"bias_hh_l0": weights["bias_ih_l0"]},
        "b_hh is left out": weights | {"bias_hh_l0": torch.zeros_like(weights["bias_hh_l0"])},
        "b_ih is left out": weights | {"bias_ih_l0": torch.zeros_like(weights["bias_ih_l0"])},
        "W_hh is used transposed": weights | {"weight_hh_l0": weights["weight_hh_l0"].T},
    }
    found = []
    for name, changed in ways.items():
        steps = trace("rnn_tanh", changed, x[None]).steps[0]
        for quantity in ("hidden", "input_projection"):
            given = torch.cat([step[quantity] for step in steps])
            if torch.allclose(given, figures, rtol=0, atol=atol):
                found.append(name)
    return found


def found_slips(figures: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield each quantity of the seeded case that is published as wrong, and the slip that leads to it."""
    case = figures["seeded"]
    weights = {name: value.double() for name, value in seeded_weights().items()}
    for quantity in (name for name in case if name.startswith("wrong")):
        found = slips(weights, _tensor(case["x"]), _tensor(case[quantity]), case["atol"])
        yield quantity, " or ".join(found) or "no slip that is known"


def _encoder(sizes: list[Any], weights: dict[str, Any]) -> RecurrentEncoder:
    encoder = RecurrentEncoder(*sizes).double()
    biases = {name: torch.zeros_like(value) for name, value in encoder.state_dict().items() if "bias" in name}
    encoder.load_state_dict(biases | {name: _tensor(value) for name, value in weights.items()})
    return encoder


def _tensor(value: Any) -> Tensor:
    return torch.as_tensor(value, dtype=torch.float64)


def _hidden(state: Any) -> Tensor:
    hidden: Tensor = state[0] if isinstance(state, tuple) else state
    return hidden[:, 0]


def _comparison(case: Case, way: str, quantity: str, found: Tensor) -> Comparison:
    expected = _tensor(case[quantity])
    found = found.detach().reshape(expected.shape)
    difference, allowed = (found - expected).abs(), case.get("atol")
    if allowed is None:
        difference, allowed = difference / expected.abs(), case["rtol"]
    return Comparison(case["name"], way, quantity, float(difference.max()), allowed)
