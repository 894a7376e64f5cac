"""What a run logged."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def events(folder: Path) -> Any:
    """Return the scalars, texts and pictures of a run's folder."""
    accumulator = EventAccumulator(str(folder / "tensorboard"))
    accumulator.Reload()
    return accumulator


def rows(folder: Path) -> list[dict[str, str]]:
    """Return the rows of a run's metrics.csv, all but the speed, which is another each time."""
    with (folder / "csv" / "metrics.csv").open(newline="") as file:
        return [{name: row[name] for name in row if name != "train/tokens_per_second"} for row in csv.DictReader(file)]
