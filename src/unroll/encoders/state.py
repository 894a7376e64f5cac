"""The state of an encoder: what it carries from one window of a text to the next."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

# One tensor, or a tuple where the state has several parts: each (layers x directions, batch, features).
State = Tensor | tuple[Tensor, ...]


def detach(state: State, ended: Tensor) -> State:
    """Return the state without its graph, as truncated backpropagation needs it between two windows, and zero for the
    rows that have `ended` (batch,)."""
    return map_state(lambda part: part.detach().masked_fill(ended.view(1, -1, *[1] * (part.dim() - 2)), 0), state)


def as_parts(state: State) -> list[Tensor]:
    """Return the tensors of a state."""
    return list(state) if isinstance(state, tuple) else [state]


def as_state(parts: Sequence[Tensor]) -> State:
    """Return the state made of `parts`, in torch.nn's form: a single part is no tuple."""
    return parts[0] if len(parts) == 1 else tuple(parts)


def map_state(change: Callable[[Tensor], Tensor], state: State) -> State:
    """Return the state with `change` applied to each part."""
    return tuple(map(change, state)) if isinstance(state, tuple) else change(state)
