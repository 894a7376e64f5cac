"""From an encoder's outputs, one per step, to one vector per row."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

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
    padding = torch.arange(output.size(1), device=output.device) >= lengths[:, None]
    return output.masked_fill(padding[..., None], -torch.inf).amax(1)


_POOLS = {"last": _last, "mean": _mean, "max": _max}
