"""Gradients against lag: the published cases come out of this very code, and autograd over torch.nn agrees."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from tests.diagnostics.published import FIGURES
from unroll.diagnostics.gradient_flow import gradient_flow, judge
from unroll.encoders import CELLS, Encoder, MinGRU, RecurrentEncoder

CASES = FIGURES["gradients"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_the_published_gradients_come_out(case: dict[str, Any]) -> None:
    encoder = RecurrentEncoder(case["cell"], 1, 1).double()
    for name, parameter in encoder.named_parameters():
        nn.init.constant_(parameter, 0.0 if name.startswith("bias") else case["weight"])
    x = torch.ones(1, case["steps"], 1, dtype=torch.float64)
    if case["window"] is None:
        flow = gradient_flow(encoder, x, lambda h: h[:, 0])
        expected = torch.tensor(case["grad_x"][::-1], dtype=torch.float64)
    else:  # published with a zero state at each window's beginning: the last window is like the first
        flow = gradient_flow(encoder, x[:, : case["window"]], lambda h: h[:, 0])
        expected = torch.tensor(case["grad_x"][: case["window"]][::-1], dtype=torch.float64)
    torch.testing.assert_close(flow.inputs, expected, rtol=case.get("rtol", 0), atol=case.get("atol", 0))


@pytest.mark.parametrize(("bidirectional", "window"), [(False, None), (False, 4), (True, None)])
@pytest.mark.parametrize("cell", CELLS)
def test_it_is_the_gradient_that_torch_finds(cell: str, bidirectional: bool, window: int | None) -> None:
    encoder = RecurrentEncoder(cell, 3, 4, 2, bidirectional).double()
    x = torch.randn(5, 10, 3, dtype=torch.float64)
    flow = gradient_flow(encoder, x, lambda h: h.pow(2).sum(1), window)
    make = {"lstm": nn.LSTM, "gru": nn.GRU}.get(cell)
    options = {"batch_first": True, "bidirectional": bidirectional}
    if make is None:
        options["nonlinearity"] = cell.removeprefix("rnn_")
    module = (make or nn.RNN)(3, 4, 2, **options).double()
    module.load_state_dict(encoder.state_dict())
    leaf = x.clone().requires_grad_()
    state = None
    if window:
        _, state = module(leaf[:, :8].detach())
        state = tuple(s.detach() for s in state) if cell == "lstm" else state.detach()
    output, _ = module(leaf[:, 8:] if window else leaf, state)
    output[:, -1].pow(2).sum().backward()
    assert leaf.grad is not None
    torch.testing.assert_close(flow.inputs, leaf.grad.norm(dim=2).mean(0).flip(0), rtol=1e-9, atol=1e-12)
    assert flow.hidden.shape == (2, 10)
    if window:
        assert not flow.inputs[2:].any()
        assert not flow.hidden[:, 2:].any()
        assert flow.inputs[:2].all()


def test_the_hidden_states_gradient_of_one_layer_is_a_product_of_jacobians() -> None:
    encoder = RecurrentEncoder("rnn_tanh", 2, 3).double()
    x = torch.randn(1, 6, 2, dtype=torch.float64)
    weight = torch.randn(3, dtype=torch.float64)
    flow = gradient_flow(encoder, x, lambda h: h @ weight)
    with torch.no_grad():
        outputs = encoder(x)[0][0]
    gradient, expected = weight, [weight.norm()]
    for t in range(5, 0, -1):
        gradient = ((1 - outputs[t] ** 2) * gradient) @ encoder.weight_hh_l0.detach()
        expected.append(gradient.norm())
    torch.testing.assert_close(flow.hidden[0], torch.stack(expected))


@pytest.mark.parametrize("window", [None, 4])
def test_an_encoder_without_a_trace_shows_the_input_s_gradient(
    window: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, x = RecurrentEncoder("gru", 3, 4, 2).double(), torch.randn(5, 10, 3, dtype=torch.float64)
    expected = gradient_flow(encoder, x, lambda h: h.pow(2).sum(1), window)
    monkeypatch.setattr(RecurrentEncoder, "trace", Encoder.trace)
    found = gradient_flow(encoder, x, lambda h: h.pow(2).sum(1), window)
    torch.testing.assert_close(found.inputs, expected.inputs, rtol=1e-9, atol=1e-12)
    assert found.hidden.shape == (0, 10)


def test_a_gradient_through_mingru_is_a_product_of_what_its_gates_keep() -> None:
    encoder, x = MinGRU(2, 3).double(), torch.randn(1, 6, 2, dtype=torch.float64)
    weight = torch.randn(3, dtype=torch.float64)
    flow = gradient_flow(encoder, x, lambda h: h @ weight)
    keep = 1 - torch.sigmoid(encoder.projections[0](x)[0, :, :3])
    gradient, expected = weight, [weight.norm()]
    for t in range(5, 0, -1):
        gradient = gradient * keep[t]
        expected.append(gradient.norm())
    torch.testing.assert_close(flow.hidden[0], torch.stack(expected).detach())


@pytest.mark.parametrize(
    ("norms", "sentence"),
    [
        ([0.5**lag for lag in range(20)], "vanishing: the gradient has fallen a thousandfold at lag 10"),
        ([2.0**lag for lag in range(20)], "exploding: the gradient has grown a thousandfold at lag 10"),
        ([0.99**lag for lag in range(20)], "healthy: at lag 19"),
        (
            [1.0, 1.0, 0.0, 0.0],
            "healthy: at lag 1 the gradient has 1 times its size at lag 0; from lag 2 on it",
        ),
        ([0.5**lag for lag in range(12)] + [0.0], "fallen a thousandfold at lag 10; from lag 12 on it is zero"),
        ([1.0, math.inf], "exploding: the gradient is not finite"),
        ([1.0, math.nan], "exploding: the gradient is not finite"),
        ([0.0, 0.0], "nothing"),
    ],
)
def test_the_judgement_names_what_there_is(norms: list[float], sentence: str) -> None:
    assert sentence in judge(torch.tensor(norms, dtype=torch.float64))


def test_the_published_cases_are_judged_as_they_are_called() -> None:
    said = {}
    for case in CASES:
        if case["window"] is None:
            said[case["name"].split("_")[0]] = judge(torch.tensor(case["grad_x"][::-1], dtype=torch.float64))
    assert said["exploding"].startswith("exploding")
    assert said["vanishing"].startswith("vanishing")
    assert said["lstm"].startswith("healthy")


@pytest.mark.parametrize(
    ("bidirectional", "window", "message"), [(False, 0, "at least 1 step"), (True, 5, "needs one direction")]
)
def test_windows_that_make_no_sense_are_refused(bidirectional: bool, window: int, message: str) -> None:
    encoder = RecurrentEncoder("lstm", 1, 1, bidirectional=bidirectional)
    with pytest.raises(ValueError, match=message):
        gradient_flow(encoder, torch.ones(1, 2, 1), lambda h: h[:, 0], window)
