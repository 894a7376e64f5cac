"""Pooling against a loop over the rows, each cut to its own steps."""

import pytest
import torch

from unroll.encoders import POOLINGS, RecurrentEncoder, pool
from unroll.encoders.pooling import pool_prefixes

LENGTHS = [3, 1, 6, 4]


@pytest.fixture
def output() -> torch.Tensor:
    """Outputs below zero: the zeros of the padding would win a maximum."""
    values = -1 - torch.rand(4, 6, 8)
    return values.masked_fill((torch.arange(6) >= torch.tensor(LENGTHS)[:, None])[..., None], 0)


def by_hand(row: torch.Tensor, how: str, num_directions: int) -> torch.Tensor:
    """One row, (steps, features), without padding."""
    if how == "mean":
        return sum(row) / len(row)
    if how == "max":
        return torch.stack([max(column) for column in row.T])
    half = row.size(1) // num_directions
    return torch.cat([row[-1, :half], row[0, half:]])


@pytest.mark.parametrize("num_directions", [1, 2])
@pytest.mark.parametrize(
    "how", [["last"], ["mean"], ["max"], ["last", "mean", "max"], ["max", "mean"], ("mean", "max")], ids=str
)
def test_each_row_over_its_own_steps(output, how, num_directions):
    pooled = pool(output, torch.tensor(LENGTHS), how, num_directions)
    rows = [row[:length] for row, length in zip(output, LENGTHS, strict=True)]
    expected = [torch.cat([by_hand(row, name, num_directions) for name in how]) for row in rows]
    torch.testing.assert_close(pooled, torch.stack(expected))


@pytest.mark.parametrize("num_directions", [1, 2])
@pytest.mark.parametrize("how", POOLINGS)
def test_gradient_stays_in_the_row_s_own_steps(output, how, num_directions):
    weights = torch.randn(4, 8)
    expected = torch.zeros_like(output)
    for i, length in enumerate(LENGTHS):
        row = output[i, :length].clone().requires_grad_()
        (gradient,) = torch.autograd.grad((by_hand(row, how, num_directions) * weights[i]).sum(), row)
        expected[i, :length] = gradient
    output.requires_grad_()
    (pool(output, torch.tensor(LENGTHS), [how], num_directions) * weights).sum().backward()
    # The same at every step of a row.
    torch.testing.assert_close(output.grad * (output != 0), expected)
    if how != "mean":  # the mean may give the padding a gradient: the encoder drops it
        assert not output.grad[output == 0].any()


@pytest.mark.parametrize("num_directions", [1, 2])
@pytest.mark.parametrize("how", POOLINGS)
def test_the_gradient_is_that_of_finite_differences(output, how, num_directions):
    time_first = output.double().transpose(0, 1).contiguous().transpose(0, 1)  # an encoder's layout
    for given in (output.double(), time_first):
        given = given.clone().requires_grad_()
        assert torch.autograd.gradcheck(lambda x: pool(x, torch.tensor(LENGTHS), [how], num_directions), given)


@pytest.mark.parametrize("how", POOLINGS)
def test_more_padding_changes_nothing(output, how):
    longer = torch.cat([output, torch.zeros(4, 3, 8)], dim=1)
    lengths = torch.tensor(LENGTHS)
    torch.testing.assert_close(pool(longer, lengths, [how]), pool(output, lengths, [how]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("backend", ["packed", "padded"])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_the_last_output_is_the_top_layer_s_final_state(cell, bidirectional, backend):
    encoder = RecurrentEncoder(cell, 3, 4, 2, bidirectional, backend=backend)
    lengths = torch.tensor(LENGTHS)
    output, state = encoder(torch.randn(4, 6, 3), lengths)
    h = state[0] if cell == "lstm" else state
    expected = torch.cat([h[-2], h[-1]], dim=-1) if bidirectional else h[-1]
    torch.testing.assert_close(pool(output, lengths, ["last"], 2 if bidirectional else 1), expected)


def test_mean_of_a_long_row_in_bfloat16_is_rounded_once():
    output = torch.randn(2, 3000, 64).bfloat16()
    output[1, 2000:] = 0
    expected = torch.stack([output[0].double().mean(0), output[1, :2000].double().mean(0)]).bfloat16()
    torch.testing.assert_close(pool(output, torch.tensor([3000, 2000]), ["mean"]), expected, atol=0, rtol=0)


@pytest.mark.parametrize("how", POOLINGS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_dtype_is_kept(output, how, dtype):
    assert pool(output.to(dtype), torch.tensor(LENGTHS), [how]).dtype == dtype


@pytest.mark.parametrize("how", [[], ["first"], ["max", "min"], ["Max"]], ids=str)
def test_unknown_or_none_is_an_error(output, how):
    with pytest.raises(ValueError, match="last, mean, max"):
        pool(output, torch.tensor(LENGTHS), how)


def test_prefixes_are_pooled_as_if_each_were_alone() -> None:
    output = torch.randn(3, 5, 4)
    found = pool_prefixes(output, ["max", "last", "mean"])
    for end in range(1, 6):
        expected = pool(output[:, :end], torch.full((3,), end), ["max", "last", "mean"])
        torch.testing.assert_close(found[:, end - 1], expected)
    with pytest.raises(ValueError, match="last, mean, max"):
        pool_prefixes(output, ["first"])


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_steps_that_are_equally_great_share_the_gradient_of_the_maximum(dtype: torch.dtype) -> None:
    """As in `torch.amax`; the zeros of the padding, where a ReLU's outputs are zero too, get nothing."""
    lengths, weights = torch.tensor(LENGTHS), torch.randn(4, 8, dtype=dtype)
    padding = (torch.arange(6) >= lengths[:, None])[..., None]
    output = torch.randint(-2, 1, (4, 6, 8)).to(dtype).masked_fill(padding, 0).requires_grad_()
    (expected,) = torch.autograd.grad((output.masked_fill(padding, -torch.inf).amax(1) * weights).sum(), output)
    (found,) = torch.autograd.grad((pool(output, lengths, ["max"]) * weights).sum(), output)
    torch.testing.assert_close(found, expected)
    assert (expected != 0).sum() > 4 * 8  # there are ties
