"""Pooling: from an encoder's outputs, one per step, to one vector per row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

POOLINGS = ("last", "mean", "max")


def pool(output: Tensor, lengths: Tensor, how: Sequence[str], num_directions: int = 1) -> Tensor:
    """Pool each row over its own steps in one or more ways, and concatenate the results.

    Args:
        output: (batch, time, features), zero beyond each row's length, as an `Encoder` returns it.
        lengths: (batch,) steps of each row, at least 1.
        how: names of `POOLINGS`. `last` is the output at the last step that a direction reads. The backward direction,
            the second half of the features, reads the first step last.
        num_directions: 1 or 2.

    Returns:
        (batch, len(how) x features).

    Raises:
        ValueError: `how` is empty or has an unknown name.
    """
    _check(how)
    lengths = lengths.to(output.device)
    wide = torch.promote_types(output.dtype, torch.float32)  # bf16 is too coarse for the sum of a thousand numbers
    pools: dict[str, Callable[[], Tensor]] = {
        "last": lambda: _Last.apply(output, lengths, num_directions),  # type: ignore[no-untyped-call]  # torch has no types for it
        "mean": lambda: (output.sum(1, dtype=wide) / lengths[:, None]).to(output.dtype),
        "max": lambda: _Max.apply(output, lengths),  # type: ignore[no-untyped-call]  # torch has no types for it
    }
    return torch.cat([pools[name]() for name in how], dim=-1)


def pool_prefixes(output: Tensor, how: Sequence[str]) -> Tensor:
    """Return what `pool` gives for every prefix of full rows, read in one direction.

    Returns:
        (batch, time, len(how) x features).

    Raises:
        ValueError: `how` is empty or has an unknown name.
    """
    _check(how)
    steps = torch.arange(1, output.size(1) + 1, device=output.device)[:, None]
    pools = {"last": lambda: output, "mean": lambda: output.cumsum(1) / steps, "max": lambda: output.cummax(1).values}
    return torch.cat([pools[name]() for name in how], dim=-1)


def _check(how: Sequence[str]) -> None:
    if not how or set(how) - set(POOLINGS):
        raise ValueError(f"pooling is one or more of {', '.join(POOLINGS)}, not {list(how)}")


class _Last(torch.autograd.Function):
    """The output at the last step that each direction reads. Its gradient is made in the layout of the output, which
    torch's own indexing would leave to a copy."""

    @staticmethod
    def forward(ctx: Any, output: Tensor, lengths: Tensor, num_directions: int) -> Tensor:
        ctx.save_for_backward(output, lengths)
        ctx.forwards = output.size(-1) // num_directions  # features of the forward direction
        last = output[torch.arange(len(output), device=output.device), lengths - 1]
        last[:, ctx.forwards :] = output[:, 0, ctx.forwards :]
        return last

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        output, lengths = ctx.saved_tensors
        gradient, rows = torch.zeros_like(output), torch.arange(len(output), device=output.device)
        gradient[rows, lengths - 1, : ctx.forwards] = gradients[0][:, : ctx.forwards]
        gradient[:, 0, ctx.forwards :] = gradients[0][:, ctx.forwards :]
        return gradient, None, None


class _Max(torch.autograd.Function):
    """The maximum over each row's own steps. Equal maxima share the gradient, as in `torch.amax`; the backward pass
    here takes a quarter of its time."""

    @staticmethod
    def forward(ctx: Any, output: Tensor, lengths: Tensor) -> Tensor:
        full = int(lengths.min())  # up to here no row has padding
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
        ties = torch.eq(output, greatest[:, None], out=torch.empty_like(output))  # 0 or 1; a bool would sum slowly
        ties[:, output.size(1) - padding.size(1) :].masked_fill_(padding, 0)
        shared = gradients[0] / ties.sum(1, dtype=torch.promote_types(output.dtype, torch.float32))
        return ties.mul_(shared.to(output.dtype)[:, None]), None
