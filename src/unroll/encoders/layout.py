"""Rows laid out as the kernels read them: time first, and backwards."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from unroll.encoders.parallel import Padding


def round_up(steps: int) -> int:
    """Return the next number of steps with at most five binary digits that count, a sixteenth more at the most: kernels
    are met again more often than lengths are."""
    grain = 1 << max(0, steps.bit_length() - 5)
    return -(-steps // grain) * grain


def time_first(x: Tensor, padding: Padding, column: bool) -> Tensor:
    """Return rows (batch, time, features) as (time, batch, features), made in one pass: zero in the padding, which may
    have more steps than the rows, in the precision of autocast, and with a `column` one feature more, which is 1 in the
    padding alone.

    What made the rows gets no gradient from the padding if none comes out of it, see `Cell.hold`.
    """
    inputs: Tensor = _TimeFirst.apply(x, padding, column)  # type: ignore[no-untyped-call]
    return inputs


class _TimeFirst(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, padding: Padding, column: bool) -> Tensor:
        ctx.steps, ctx.features = x.shape[1:]
        device, dtype = x.device.type, x.dtype
        if torch.is_autocast_enabled(device) and dtype != torch.float64:  # which autocast leaves alone
            dtype = torch.get_autocast_dtype(device)
        inputs = x.new_empty(len(padding.mask), x.size(0), x.size(2) + column, dtype=dtype)
        inputs[: x.size(1), :, : x.size(2)].copy_(x.transpose(0, 1))
        padding.blank(inputs)
        if column:
            inputs[..., -1] = padding.mask
        return inputs

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return gradients[0][: ctx.steps, :, : ctx.features].transpose(0, 1), None, None


def permute(x: Tensor, places: Tensor) -> Tensor:
    """Rearrange the steps of `x` (time, batch, features) by `places` (time, batch) in the flattened steps: by an
    involution, a permutation that undoes itself."""
    permuted: Tensor = _Permutation.apply(x.flatten(0, 1), places.flatten())  # type: ignore[no-untyped-call]
    return permuted.view_as(x)


class _Permutation(torch.autograd.Function):
    """Rows rearranged by an involution: a permutation that undoes itself, so that its gradient is itself."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, places: Tensor) -> Tensor:
        ctx.save_for_backward(places)
        return x.index_select(0, places)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (places,) = ctx.saved_tensors
        return _Permutation.apply(gradients[0], places), None  # type: ignore[no-untyped-call]
