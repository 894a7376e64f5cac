"""A loader that resumes where it stopped."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

T = TypeVar("T")


class EpochSampler(Sampler[T]):
    """Yields an epoch's batches, in an order that depends on the seed and the epoch alone."""

    epoch = 0
    start = 0  # the batch to begin with

    def set_epoch(self, epoch: int, start: int | None = None) -> None:
        """Choose the next epoch, and the batch to begin with.

        Lightning gives the epoch alone, both when it begins and when it is resumed. In the same epoch `start` then
        stays as it is; in another it becomes 0.
        """
        self.start = start if start is not None else self.start if epoch == self.epoch else 0
        self.epoch = epoch


class ResumableLoader(DataLoader[T]):
    """A loader of a sampler's batches. Its state, which Lightning saves and restores, is the epoch and the number of
    batches that it has yielded.

    Making a batch takes microseconds, so `workers`, processes of their own, are seldom faster.
    """

    def __init__(self, dataset: Dataset[T], sampler: EpochSampler[Any], workers: int = 0) -> None:
        # A generator of its own: the loader draws a number, and must not take it from the model's.
        super().__init__(dataset, sampler=sampler, batch_size=None, num_workers=workers, generator=torch.Generator())
        self._order, self._given = sampler, 0

    # A generator function: nothing runs until the first batch is asked for, and by then `set_epoch` has been called.
    def __iter__(self) -> Iterator[T]:  # type: ignore[override]  # torch names an iterator of a private class
        self._given = self._order.start
        for batch in super().__iter__():
            self._given += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Return the `epoch` and, in it, the next `batch`."""
        return {"epoch": self._order.epoch, "batch": self._given}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Begin the next iteration at this epoch and batch."""
        self._order.set_epoch(state["epoch"], state["batch"])
