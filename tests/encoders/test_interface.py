"""What the rest of the package expects of an encoder, for every entry of the table."""

from __future__ import annotations

import copy
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from unroll.encoders import Encoder, State, build_encoder
from unroll.encoders.state import as_parts, as_state, detach
from unroll.registry import ENCODERS

LENGTHS = torch.tensor([4, 9, 1, 6])
PADDING = torch.arange(9) >= LENGTHS[:, None]

every_entry = pytest.mark.parametrize("cell", list(ENCODERS))
both_ways = pytest.mark.parametrize("bidirectional", [False, True])


def make(cell: str, bidirectional: bool = False, layers: int = 2) -> Encoder:
    """An encoder in float64 with random weights and biases."""
    encoder = build_encoder(3, cell=cell, hidden_size=5, num_layers=layers, bidirectional=bidirectional).double()
    for parameter in encoder.parameters():
        nn.init.uniform_(parameter, -0.6, 0.6)
    return encoder


def rows() -> Tensor:
    return torch.randn(4, 9, 3, dtype=torch.float64)


def reached(encoder: Encoder) -> State:
    """The state of an encoder after four rows."""
    state: State = encoder(rows())[1]
    return detach(state, torch.zeros(4, dtype=torch.bool))


def pick(state: State, places: list[int]) -> State:
    return as_state([part[:, places] for part in as_parts(state)])


def close(found: State, expected: State) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@every_entry
@both_ways
class TestEveryEncoder:
    def test_it_says_what_it_is(self, cell: str, bidirectional: bool) -> None:
        encoder = make(cell, bidirectional)
        output, state = encoder(rows(), LENGTHS)
        assert encoder.input_size == 3
        assert output.shape == (4, 9, encoder.output_size)
        assert encoder.num_directions == 1 + bidirectional
        assert len(as_parts(state)) == len(encoder.state_parts)

    def test_the_state_has_the_form_of_the_zero_state(self, cell: str, bidirectional: bool) -> None:
        encoder = make(cell, bidirectional)
        zeros, after = encoder.zero_state(rows()), encoder(rows(), LENGTHS)[1]
        assert isinstance(zeros, tuple) == isinstance(after, tuple)
        for zero, part in zip(as_parts(zeros), as_parts(after), strict=True):
            assert not zero.any()
            assert (zero.shape, zero.dtype) == (part.shape, part.dtype)
            assert zero.size(1) == 4

    @pytest.mark.parametrize("given", [False, True], ids=["zero_state", "given_state"])
    def test_a_row_alone_reads_as_among_others(self, cell: str, bidirectional: bool, given: bool) -> None:
        encoder, x = make(cell, bidirectional), rows()
        state = reached(encoder) if given else None
        output, after = encoder(x, LENGTHS, state)
        assert not output[PADDING].any()
        for row, length in enumerate(LENGTHS.tolist()):
            before = None if state is None else pick(state, [row])
            alone, alone_after = encoder(x[[row], :length], None, before)
            close(output[[row], :length], alone)
            close(pick(after, [row]), alone_after)

    @pytest.mark.parametrize("garbage", [torch.nan, torch.inf, -1e30], ids=str)
    def test_padding_has_no_influence_and_no_gradient(self, cell: str, bidirectional: bool, garbage: float) -> None:
        encoder, x = make(cell, bidirectional), rows()
        results = []
        for filling in (0.0, garbage):
            leaf = x.masked_fill(PADDING[..., None], filling).requires_grad_()
            output, after = encoder(leaf, LENGTHS)
            # The gradient of the loss may even be NaN beyond the rows' ends.
            steep = torch.ones_like(output).masked_fill(PADDING[..., None], 1.0 if filling == 0 else torch.nan)
            ends = [torch.ones_like(part) for part in as_parts(after)]
            gradients = torch.autograd.grad([output, *as_parts(after)], [leaf, *encoder.parameters()], [steep, *ends])
            assert not gradients[0][PADDING].any()
            results.append([output, *as_parts(after), *gradients])
        for clean, dirty in zip(*results, strict=True):
            assert torch.equal(clean, dirty)

    def test_the_trace_is_what_forward_computes(self, cell: str, bidirectional: bool) -> None:
        encoder, x = make(cell, bidirectional), rows()
        state = reached(encoder)
        found = encoder.trace(x, LENGTHS, state)
        if found is not None:
            output, after = encoder(x, LENGTHS, state)
            torch.testing.assert_close(found.output, output, rtol=0, atol=1e-10)
            torch.testing.assert_close(found.state, after, rtol=0, atol=1e-10)
            assert [len(steps) for steps in found.steps] == [9] * (2 * encoder.num_directions)
            assert all("hidden" in step for steps in found.steps for step in steps)

    def test_under_autocast_it_is_close_and_its_gradients_are_float32(self, cell: str, bidirectional: bool) -> None:
        exact = make(cell, bidirectional)
        encoder, x = copy.deepcopy(exact).float(), rows()
        with torch.autocast("cpu", torch.bfloat16):
            output, state = encoder(x.float(), LENGTHS)
            again, _ = encoder(x.float(), LENGTHS, state)
        expected, expected_state = exact(x, LENGTHS)
        torch.testing.assert_close(output.double(), expected, rtol=0.02, atol=0.05)
        torch.testing.assert_close(again.double(), exact(x, LENGTHS, expected_state)[0], rtol=0.02, atol=0.05)
        output.float().sum().backward()
        assert all(parameter.grad.dtype == torch.float32 for parameter in encoder.parameters())

    def test_weights_in_bfloat16(self, cell: str, bidirectional: bool) -> None:
        exact, x = make(cell, bidirectional), rows()
        output, state = copy.deepcopy(exact).bfloat16()(x.bfloat16(), LENGTHS)
        assert output.dtype == torch.bfloat16
        assert [part.dtype for part in as_parts(state)] == [
            part.dtype for part in as_parts(exact.zero_state(x.bfloat16()))
        ]
        torch.testing.assert_close(output.double(), exact(x, LENGTHS)[0], rtol=0.02, atol=0.05)

    def test_wrong_shapes_are_refused(self, cell: str, bidirectional: bool) -> None:
        encoder, x = make(cell, bidirectional), rows()
        for wrong in (x[..., :2], x[:0], x[:, :0], x[0]):
            with pytest.raises(ValueError, match=r"x must be \(batch, time, 3\)"):
                encoder(wrong)
        for wrong in (LENGTHS[:3], LENGTHS * 2, LENGTHS - 1, LENGTHS.float()):
            with pytest.raises(ValueError, match="lengths must"):
                encoder(x, wrong)
        with pytest.raises(ValueError, match="state must be hidden"):
            encoder(x, LENGTHS, pick(encoder.zero_state(x), [0, 1, 2]))


@every_entry
@pytest.mark.parametrize("cuts", [(0, 3, 9), (0, 1, 2, 3, 4, 5, 6, 7, 8, 9)], ids=["two", "steps"])
def test_windows_with_carried_state_are_one_long_row(cell: str, cuts: tuple[int, ...]) -> None:
    encoder, x = make(cell), rows()
    expected, expected_after = encoder(x)
    state, outputs = None, []
    for start, end in pairwise(cuts):
        output, state = encoder(x[:, start:end], None, state)
        outputs.append(output)
    close(torch.cat(outputs, dim=1), expected)
    close(state, expected_after)


@every_entry
def test_the_gradient_flows_through_a_carried_state_until_it_is_detached(cell: str) -> None:
    encoder, first, second = make(cell), rows().requires_grad_(), rows()
    _, state = encoder(first)
    (through,) = torch.autograd.grad(encoder(second, None, state)[0].sum(), first, retain_graph=True)
    assert through.abs().sum(dim=(1, 2)).all()
    cut = detach(state, ended=torch.tensor([True, False, False, False]))
    assert not any(part.requires_grad for part in as_parts(cut))
    output, _ = encoder(second, None, cut)
    close(output[:1], encoder(second[:1])[0])  # a row that has ended starts from zero
    close(output[1:], encoder(second[1:], None, pick(state, [1, 2, 3]))[0])


@every_entry
def test_the_backward_half_reads_each_row_from_its_own_end(cell: str) -> None:
    encoder, x = make(cell, bidirectional=True, layers=1), rows()
    half = encoder.output_size // 2
    output, _ = encoder(x, LENGTHS)
    changed, _ = encoder(x.index_fill(1, torch.tensor([0]), 7.0), LENGTHS)
    # The backward direction reads the first step last, so its outputs at the other steps stay.
    close(changed[:, 1:, half:], output[:, 1:, half:])
    assert not torch.equal(changed[:, 0, half:], output[:, 0, half:])
    changed, _ = encoder(x.index_fill(1, torch.tensor([8]), 7.0), LENGTHS)
    close(changed[1, :8, :half], output[1, :8, :half])  # the only row with this step
    close(changed[[0, 2, 3]], output[[0, 2, 3]])


@pytest.mark.parametrize("parts", [0, 1, 2, 3])
def test_a_state_of_any_number_of_parts_is_detached(parts: int) -> None:
    tensors = [torch.ones(2, 3, *[4] * dims).requires_grad_() * 2 for dims in range(parts)]
    state = detach(as_state(tensors), ended=torch.tensor([False, True, False]))
    assert isinstance(state, tuple) == (parts != 1)
    for part in as_parts(state):
        assert not part.requires_grad
        assert (part[:, [0, 2]] == 2).all()
        assert not part[:, 1].any()
