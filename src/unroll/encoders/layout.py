"""Rows in the layout that the kernels read: time first, and reversed for the backward direction."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from unroll.encoders.parallel import Padding


def round_up(steps: int) -> int:
    """Return `steps` rounded up to five significant binary digits, at most a sixteenth more. Kernels that are compiled
    for each number of steps then meet fewer numbers."""
    grain = 1 << max(0, steps.bit_length() - 5)
    return -(-steps // grain) * grain


def time_first(x: Tensor, padding: Padding, column: bool) -> Tensor:
    """Return rows (batch, time, features) as (time, batch, features), in one pass over them.

    The result is zero in the padding, which may have more steps than the rows, and has autocast's precision. With
    `column` it has one more feature, which is 1 in the padding and 0 elsewhere.

    The gradient is not blanked: whatever reads the result must give none in the padding, see `Cell.hold`.
    """
    inputs: Tensor = _TimeFirst.apply(x, padding, column)  # type: ignore[no-untyped-call]  # torch has no types for it
    return inputs


class _TimeFirst(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, padding: Padding, column: bool) -> Tensor:
        ctx.shape, ctx.dtype = x.shape, x.dtype
        device, dtype = x.device.type, x.dtype
        if torch.is_autocast_enabled(device) and dtype != torch.float64:  # autocast leaves float64 alone
            dtype = torch.get_autocast_dtype(device)
        inputs = x.new_empty(len(padding.mask), x.size(0), x.size(2) + column, dtype=dtype)
        inputs[: x.size(1), :, : x.size(2)].copy_(x.transpose(0, 1))
        padding.blank(inputs)
        if column:
            inputs[..., -1] = padding.mask
        return inputs

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        # Copied here: autograd would first cast it, and whoever needs it in rows would then copy it.
        steps, features = ctx.shape[1:]
        given = gradients[0][:steps, :, :features].transpose(0, 1)
        return given.new_empty(ctx.shape, dtype=ctx.dtype).copy_(given), None, None


def permute(x: Tensor, places: Tensor) -> Tensor:
    """Return `x` (time, batch, features) with its steps rearranged: step k of the result is step `places[k]`, both
    counted in the flattened (time x batch) steps. `places` (time, batch) must be a permutation that undoes itself."""
    permuted: Tensor = _Permutation.apply(x.flatten(0, 1), places.flatten())  # type: ignore[no-untyped-call]  # torch has no types for it
    return permuted.view_as(x)


class _Permutation(torch.autograd.Function):
    """`index_select` by a permutation that undoes itself: the gradient is permuted in the same way."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, places: Tensor) -> Tensor:
        ctx.save_for_backward(places)
        return x.index_select(0, places)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (places,) = ctx.saved_tensors
        return _Permutation.apply(gradients[0], places), None  # type: ignore[no-untyped-call]  # torch has no types for it
