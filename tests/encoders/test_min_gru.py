"""minGRU against its equations, written out one number at a time, and its scan against a loop."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from unroll.encoders import MinGRU, min_gru
from unroll.encoders.min_gru import scan


@pytest.fixture(params=[1, 2**12, 2**40], ids=["one_piece", "as_it_is", "most_pieces"])
def _pieces(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows whole, in the usual number of pieces, and in as many as possible."""
    monkeypatch.setattr(min_gru, "_WORTH_A_CALL", request.param)


def make(*sizes: Any, **options: Any) -> MinGRU:
    encoder = MinGRU(*sizes, **options).double()
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter)
    return encoder


def by_hand(weight: Tensor, bias: Tensor, row: Tensor, before: list[float]) -> tuple[list[list[float]], list[float]]:
    """One layer in one direction over a row (time, features), in Python's numbers: its outputs and its last state."""
    hidden, state, outputs = len(before), list(before), []
    for x in row.tolist():
        sums = [
            b + sum(w * v for w, v in zip(ws, x, strict=True))
            for ws, b in zip(weight.tolist(), bias.tolist(), strict=True)
        ]
        for unit in range(hidden):
            z, value = 1 / (1 + math.exp(-sums[unit])), sums[hidden + unit]
            candidate = value + 0.5 if value >= 0 else 1 / (1 + math.exp(-value))
            state[unit] = (1 - z) * state[unit] + z * candidate
        outputs.append(list(state))
    return outputs, state


@pytest.mark.usefixtures("_pieces")
@pytest.mark.parametrize("given", [False, True], ids=["zero_state", "given_state"])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("layers", [1, 3])
def test_outputs_and_states_are_those_of_the_equations(layers: int, bidirectional: bool, given: bool) -> None:
    encoder, directions, lengths = make(3, 4, layers, bidirectional), 1 + bidirectional, [2, 7, 1, 5]
    x = torch.randn(4, 7, 3, dtype=torch.float64)
    state = torch.rand(layers * directions, 4, 4, dtype=torch.float64) * 3 if given else encoder.zero_state(x)
    output, after = encoder(x, torch.tensor(lengths), state if given else None)
    for i, length in enumerate(lengths):
        row = x[i, :length]
        for layer, projection in enumerate(encoder.projections):
            halves = []
            for direction in range(directions):
                place, own = layer * directions + direction, slice(8 * direction, 8 * direction + 8)
                read = row.flip(0) if direction else row
                outputs, end = by_hand(projection.weight[own], projection.bias[own], read, state[place, i].tolist())
                found = torch.tensor(outputs, dtype=torch.float64)
                halves.append(found.flip(0) if direction else found)
                torch.testing.assert_close(after[place, i].tolist(), end, rtol=0, atol=1e-10)
            row = torch.cat(halves, dim=1)
        torch.testing.assert_close(output[i, :length], row, rtol=0, atol=1e-10)
        assert not output[i, length:].any()


@pytest.mark.usefixtures("_pieces")
@pytest.mark.parametrize("bidirectional", [False, True])
def test_gradients_are_those_of_the_equations(measure: Any, assert_same: Any, bidirectional: bool) -> None:
    """The oracle is autograd through the steps of the trace."""
    encoder, lengths = make(3, 4, 2, bidirectional), torch.tensor([2, 30, 11])
    x = torch.randn(3, 30, 3, dtype=torch.float64)
    state = torch.rand(2 * (1 + bidirectional), 3, 4, dtype=torch.float64)
    parameters = dict(encoder.named_parameters())

    def step_by_step(x: Tensor, lengths: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        found = encoder.trace(x, lengths, state)
        return found.output, found.state

    expected = measure(step_by_step, parameters, x, lengths, state)
    assert_same(measure(encoder, parameters, x, lengths, state), expected, 1e-10)


def test_one_step_at_a_time_is_the_whole() -> None:
    encoder, x = make(3, 4, 2), torch.randn(2, 50, 3, dtype=torch.float64)
    expected, after = encoder(x)
    state, outputs = None, []
    for t in range(50):
        output, state = encoder(x[:, t : t + 1], None, state)
        outputs.append(output)
    torch.testing.assert_close(torch.cat(outputs, dim=1), expected, rtol=0, atol=1e-10)
    torch.testing.assert_close(state, after, rtol=0, atol=1e-10)


@pytest.mark.parametrize("rows", [1, 16])
def test_thousands_of_steps_are_exact_in_float32(rows: int) -> None:
    """Gates from shut to open, so the kept share has every magnitude. The oracle is a loop in float64."""
    keep = torch.sigmoid(8 * torch.randn(rows, 5000, 32, dtype=torch.float64)).requires_grad_()
    new = (torch.rand_like(keep) * 3 * (1 - keep)).detach().requires_grad_()
    start = torch.rand(rows, 32, dtype=torch.float64)
    before, steps = start, []
    for keep_t, new_t in zip(keep.unbind(1), new.unbind(1), strict=True):
        before = keep_t * before + new_t
        steps.append(before)
    expected = torch.stack(steps, dim=1)
    weights = torch.randn_like(expected)
    exact = torch.autograd.grad((expected * weights).sum(), [keep, new])
    leaves = [part.detach().float().requires_grad_() for part in (keep, new)]
    found = scan(*leaves, start.float())
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)
    gradients = torch.autograd.grad((found * weights.float()).sum(), leaves)
    for gradient, of_it in zip(gradients, exact, strict=True):
        assert (gradient - of_it).norm() < 1e-5 * of_it.norm()


@pytest.mark.usefixtures("_pieces")
@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("time", [1, 2, 7, 12])
def test_the_scan_is_differentiated_right_and_twice(time: int, backward: bool) -> None:
    keep = torch.rand(2, time, 2, dtype=torch.float64, requires_grad=True)
    new, start = torch.randn_like(keep, requires_grad=True), torch.randn(2, 2, dtype=torch.float64, requires_grad=True)
    hidden, before = scan(keep, new, start, backward), start
    for t in reversed(range(time)) if backward else range(time):
        before = keep[:, t] * before + new[:, t]
        torch.testing.assert_close(hidden[:, t], before)
    assert torch.autograd.gradcheck(lambda *parts: scan(*parts, backward), (keep, new, start))
    # The fast mode compares along random directions.
    assert torch.autograd.gradgradcheck(lambda *parts: scan(*parts, backward), (keep, new, start), fast_mode=True)


def test_small_updates_add_up_in_bfloat16() -> None:
    """z = 1/1000 each step: rounded to bf16 after each, the state would stop halfway."""
    encoder = MinGRU(1, 1)
    with torch.no_grad():
        encoder.projections[0].weight.zero_()
        encoder.projections[0].bias.copy_(torch.tensor([math.log(1 / 999), 0.5]))
    encoder, x, state = encoder.bfloat16(), torch.zeros(1, 1, 1).bfloat16(), None
    for _ in range(3000):
        output, state = encoder(x, None, state)
    assert state.dtype == torch.float32
    bias = encoder.projections[0].bias[0].double().item()  # rounded to bf16
    expected = 1 - (1 - 1 / (1 + math.exp(-bias))) ** 3000
    assert output.item() == pytest.approx(expected, rel=2**-8)


def test_initial_values_and_names() -> None:
    encoder = MinGRU(30, 50, 2, bidirectional=True)
    shapes = {name: tuple(value.shape) for name, value in encoder.state_dict().items()}
    assert shapes == {
        "projections.0.weight": (200, 30),
        "projections.0.bias": (200,),
        "projections.1.weight": (200, 100),
        "projections.1.bias": (200,),
    }
    assert not encoder.projections[1].bias.any()
    for gate in encoder.projections[0].weight.detach().split(50):
        bound = math.sqrt(6 / (30 + 50))
        assert 0.95 * bound < gate.abs().max() <= bound


def test_dropout_is_between_layers_in_training_alone() -> None:
    encoder, x = MinGRU(3, 64, 2, dropout=0.5), torch.randn(2, 5, 3)
    assert not torch.equal(encoder(x)[0], encoder(x)[0])
    assert torch.equal(encoder(x)[1][0], encoder(x)[1][0])  # the first layer's state
    encoder.eval()
    assert torch.equal(encoder(x)[0], encoder(x)[0])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"hidden_size": 0}, "hidden_size"),
        ({"num_layers": 0}, "num_layers"),
        ({"dropout": 0.5}, "num_layers=1"),
        ({"dropout": 1.5, "num_layers": 2}, "between 0 and 1"),
    ],
    ids=str,
)
def test_wrong_arguments(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MinGRU(**{"input_size": 3, "hidden_size": 4} | wrong)


def test_its_gate_and_candidate_are_shown() -> None:
    encoder, x = make(3, 4), torch.randn(2, 5, 3, dtype=torch.float64)
    step = encoder.trace(x).steps[0][2]
    gate, value = encoder.projections[0](x[:, 2]).chunk(2, dim=-1)
    torch.testing.assert_close(step["update_gate"], 1 / (1 + torch.exp(-gate)))
    torch.testing.assert_close(step["candidate"], torch.where(value >= 0, value + 0.5, 1 / (1 + torch.exp(-value))))
    assert set(step) == {"update_gate", "candidate", "hidden"}
