"""What the data of all tasks share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sized
from typing import Any

from lightning.pytorch import LightningDataModule
from torch import Tensor

LAGS, STRETCHES = 100, 16  # steps and rows of the validation data that `probe_rows` returns


class TaskData(LightningDataModule, ABC):
    """A corpus in three splits, as a LightningDataModule of the settings.

    `prepare_data` fetches and tokenises, once per machine. `setup` reads and encodes, once in every process; it sets
    the attributes.
    """

    source: str  # where the data came from: "local", "hub", …
    origin: str  # the same, for people to read
    fingerprint: str  # equal for equal texts
    train: Sized
    val: Sized
    test: Sized

    def describe(self) -> dict[str, Any]:
        """Return what `summary.json` says about the data: where it came from, and the sizes of the splits."""
        return {
            "source": self.source,
            "origin": self.origin,
            "fingerprint": self.fingerprint,
            "train": len(self.train),
            "val": len(self.val),
            "test": len(self.test),
        }

    @abstractmethod
    def report(self) -> list[str]:
        """Return lines that a person should read before training."""

    def about(self) -> dict[str, Any]:
        """Return what a model needs to read other data in the same way: plain values, for the checkpoint."""
        return {}

    def probe_rows(self) -> Tensor | None:
        """Return rows of validation data (rows, steps, …) for the model's `look_back`, by which monitors look into the
        recurrence; None if there are none."""
        return None
