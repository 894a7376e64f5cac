"""A loader that is resumed where it stopped."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

T = TypeVar("T")


class EpochSampler(Protocol):
    """Gives the batches of an epoch in an order that is a function of (seed, epoch) alone."""

    epoch: int
    start: int  # the first batch to come

    def set_epoch(self, epoch: int, start: int | None = None) -> None:
        """Choose the epoch whose batches come next. Lightning calls this with the epoch alone, when an epoch begins and
        when it is resumed: a start within it stays."""

    def __iter__(self) -> Iterator[Any]: ...


class ResumableLoader(DataLoader[T]):
    """A loader of a sampler's batches. Its state, which Lightning saves and restores, is the epoch and the number of
    batches that it has given out.

    Making a batch takes microseconds, so that `workers`, processes of their own, seldom pay. The loader's random
    numbers, of which nothing depends, are not taken from the model's.
    """

    def __init__(self, dataset: Dataset[T], sampler: EpochSampler, workers: int = 0) -> None:
        super().__init__(dataset, sampler=sampler, batch_size=None, num_workers=workers, generator=torch.Generator())
        self._order, self._given = sampler, 0

    # A generator, so that nothing is drawn of an epoch before `set_epoch` has named it.
    def __iter__(self) -> Iterator[T]:  # type: ignore[override]
        self._given = self._order.start
        for batch in super().__iter__():
            self._given += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Return the `epoch`, and the `batch` in it that comes next."""
        return {"epoch": self._order.epoch, "batch": self._given}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Begin the next iteration where `state` says."""
        self._order.set_epoch(state["epoch"], state["batch"])
