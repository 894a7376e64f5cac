"""What one of several processes has of a batch."""

from __future__ import annotations

from typing import NamedTuple


class Part(NamedTuple):
    """A process's part of a batch, and the size of the whole batch."""

    share: float  # its examples, times the processes, divided by all examples; 0: a spare example in place of none
    num_tokens: int  # of the whole batch
    num_examples: int  # of the whole batch


def share_of(part: Part | None) -> float:
    """Return the factor by which the mean over a part's examples becomes its part of the mean over the whole batch: the
    mean of all parts is that mean. It is 1 for a whole batch, None."""
    return 1.0 if part is None else part.share
