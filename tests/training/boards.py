"""What a run logged."""

from __future__ import annotations

import csv
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def events(folder: Path) -> Any:
    """Return the scalars, texts and pictures of a run's folder.

    A file's name has the second in which it was made, and at its end a number. Of two of the same second TensorBoard
    would read number 10 before 9, and tests make several in a second.
    """

    def made(path: Path) -> tuple[int, int]:
        parts = path.name.split(".")
        return int(parts[3]), int(parts[-1])

    files = sorted((folder / "tensorboard").glob("*tfevents*"), key=made)
    with TemporaryDirectory() as ordered:
        for number, path in enumerate(files):
            Path(ordered, f"events.out.tfevents.{number:04}").symlink_to(path.resolve())
        accumulator = EventAccumulator(ordered)
        accumulator.Reload()
    return accumulator


def rows(folder: Path) -> list[dict[str, str]]:
    """Return the rows of a run's metrics.csv, all but the speed, which is another each time."""
    with (folder / "csv" / "metrics.csv").open(newline="") as file:
        return [{name: row[name] for name in row if name != "train/tokens_per_second"} for row in csv.DictReader(file)]
