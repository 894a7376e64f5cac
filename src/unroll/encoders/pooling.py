"""From an encoder's outputs, one per step, to one vector per row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

POOLINGS = ("last", "mean", "max")


def pool(output: Tensor, lengths: Tensor, how: Sequence[str], num_directions: int = 1) -> Tensor:
    """Reduce each row over its own steps, and concatenate the results.

    Args:
        output: (batch, time, features), zero beyond each row's length, as `RecurrentEncoder` gives it.
        lengths: (batch,) steps of each row, at least 1.
        how: names of `POOLINGS`. `last` is the output of the last step read: in the second half of the features of
            two directions, that of the first step.
        num_directions: 1 or 2.

    Returns:
        (batch, len(how) x features).

    Raises:
        ValueError: an unknown name, or none.
    """
    _check(how)
    lengths = lengths.to(output.device)
    return torch.cat([_POOLS[name](output, lengths, num_directions) for name in how], dim=-1)


def pool_prefixes(output: Tensor, how: Sequence[str]) -> Tensor:
    """Return what `pool` makes of each prefix of full rows of one direction: (batch, time, len(how) x features).

    Raises:
        ValueError: an unknown name, or none.
    """
    _check(how)
    steps = torch.arange(1, output.size(1) + 1, device=output.device)[:, None]
    pools = {"last": lambda: output, "mean": lambda: output.cumsum(1) / steps, "max": lambda: output.cummax(1).values}
    return torch.cat([pools[name]() for name in how], dim=-1)


def _check(how: Sequence[str]) -> None:
    if not how or set(how) - set(POOLINGS):
        raise ValueError(f"pooling is one or more of {', '.join(POOLINGS)}, not {list(how)}")


def _last(output: Tensor, lengths: Tensor, num_directions: int) -> Tensor:
    rows = torch.arange(len(output), device=output.device)
    last = output[rows, lengths - 1]
    if num_directions == 1:
        return last
    half = output.size(-1) // 2
    return torch.cat([last[:, :half], output[:, 0, half:]], dim=-1)


def _mean(output: Tensor, lengths: Tensor, num_directions: int) -> Tensor:
    # In float32, since the sum of a thousand bf16 numbers is not one.
    return (output.sum(1, dtype=torch.promote_types(output.dtype, torch.float32)) / lengths[:, None]).to(output.dtype)


def _max(output: Tensor, lengths: Tensor, num_directions: int) -> Tensor:
    greatest: Tensor = _Max.apply(output, lengths)  # type: ignore[no-untyped-call]
    return greatest


class _Max(torch.autograd.Function):
    """The greatest of each row's own steps. Where several are, they share the gradient, as in `torch.amax`, whose
    backward pass takes four times as long."""

    @staticmethod
    def forward(ctx: Any, output: Tensor, lengths: Tensor) -> Tensor:
        full = int(lengths.min())  # the steps before it are in every row
        padding = (torch.arange(full, output.size(1), device=output.device) >= lengths[:, None])[..., None]
        greatest = output[:, :full].amax(1)
        if full < output.size(1):
            greatest = torch.maximum(greatest, output[:, full:].masked_fill(padding, -torch.inf).amax(1))
        ctx.save_for_backward(output, greatest, padding)
        return greatest

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        output, greatest, padding = ctx.saved_tensors
        ties = torch.eq(output, greatest[:, None], out=torch.empty_like(output))  # 0 or 1: no bool, which sums slowly
        ties[:, output.size(1) - padding.size(1) :].masked_fill_(padding, 0)
        shared = gradients[0] / ties.sum(1, dtype=torch.promote_types(output.dtype, torch.float32))
        return ties.mul_(shared.to(output.dtype)[:, None]), None


_POOLS = {"last": _last, "mean": _mean, "max": _max}
