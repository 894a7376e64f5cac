"""What the diagnostics take of a run's time, by the clock of Lightning's profiler."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import Any

from lightning.pytorch.profilers import SimpleProfiler
from rich.console import Console

from unroll.config import ClassificationConfig, LanguageModelingConfig
from unroll.training.run import Run, load_data, quiet

# Where the time of the diagnostics is spent: what the profiler calls it.
_OURS = (
    "[Callback]Recurrence.",
    "[LightningModule]Classification.on_before_backward",
    "[LightningModule]LanguageModeling.on_before_backward",
)


def overhead(config: ClassificationConfig | LanguageModelingConfig) -> list[dict[str, Any]]:
    """Train once, validation included, and take the time.

    Returns:
        A row for each hook of `unroll.training.recurrence` and of the check for numbers that are not finite: `hook`,
        its `calls`, `milliseconds` each, and their `share` of the run's seconds; and a last one for them all.
    """
    quiet()
    config = dataclasses.replace(config, trainer=dataclasses.replace(config.trainer, profiler="simple"))
    data = load_data(config)
    with tempfile.TemporaryDirectory() as folder, Path(folder, "screen").open("w") as screen:
        run = Run(config, data, Path(folder), Console(file=screen))
        run.trainer.fit(run.module, run.data)
        profiler = run.trainer.profiler  # type: ignore[attr-defined]
    assert isinstance(profiler, SimpleProfiler)
    taken = profiler.recorded_durations
    whole = sum(taken["run_training_epoch"])
    ours = {name: taken[name] for name in taken if name.startswith(_OURS) and sum(taken[name]) > 1e-4 * whole}
    rows = [
        {
            "hook": name.partition("]")[2],
            "calls": len(seconds),
            "milliseconds": round(1e3 * sum(seconds) / len(seconds), 3),
            "share": sum(seconds) / whole,
        }
        for name, seconds in ours.items()
    ]
    share = sum(sum(taken[name]) for name in taken if name.startswith(_OURS)) / whole
    return [*rows, {"hook": "together", "calls": 1, "milliseconds": round(1e3 * share * whole, 3), "share": share}]
