"""The state of an encoder: what it carries from one window of a text to the next."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

# A tensor, or a tuple of tensors where the state has several parts: each (layers x directions, batch, features).
State = Tensor | tuple[Tensor, ...]


def detach(state: State, ended: Tensor) -> State:
    """Return the state cut off from the graph that made it (the boundary of truncated backpropagation), and zero for
    the rows that have `ended` (batch,)."""
    return map_state(lambda part: part.detach().masked_fill(ended.view(1, -1, *[1] * (part.dim() - 2)), 0), state)


def as_parts(state: State) -> list[Tensor]:
    """Return the tensors of a state."""
    return list(state) if isinstance(state, tuple) else [state]


def as_state(parts: Sequence[Tensor]) -> State:
    """Return the state of such tensors, as torch.nn returns it: the tensor itself where there is one."""
    return parts[0] if len(parts) == 1 else tuple(parts)


def map_state(change: Callable[[Tensor], Tensor], state: State) -> State:
    """Return the state with each of its parts changed."""
    return tuple(map(change, state)) if isinstance(state, tuple) else change(state)
