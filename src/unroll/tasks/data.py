"""What the data of all tasks have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from lightning.pytorch import LightningDataModule
from torch import Tensor

LAGS, STRETCHES = 100, 16  # steps and rows of validation data that the recurrence is looked into with


class TaskData(LightningDataModule, ABC):
    """A corpus in three splits, as a LightningDataModule of the settings.

    `prepare_data` fetches and tokenises once per machine; `setup` reads and encodes in every process, once. The
    attributes hold after `setup`.
    """

    source: str  # what was used: "local", "hub", …
    origin: str  # the same for people
    fingerprint: str  # equal texts, equal fingerprints

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Return what `summary.json` says of the data: `source`, `origin`, `fingerprint`, the sizes of the splits
        `train`, `val` and `test`, and more."""

    @abstractmethod
    def report(self) -> list[str]:
        """Return what a person should know before training, a line each."""

    def about(self) -> dict[str, Any]:
        """Return what a model needs to read other data as it read these: plain values, entries of a checkpoint."""
        return {}

    def probe_rows(self) -> Tensor | None:
        """Return rows of validation data (rows, steps, …) for looking into the recurrence, as the model's `look_back`
        takes them; None where there are none."""
        return None
