"""The share of a run's time in diagnostics, saving and the loader, by Lightning's profiler."""

from __future__ import annotations

import dataclasses

from lightning.pytorch.profilers import SimpleProfiler

from benchmarks.request import AnyConfig
from benchmarks.runs import fit
from benchmarks.table import Bars, Column, Row, Table
from unroll.tasks.spec import load_data
from unroll.training.run import quiet

# The profiler's names for the places of each part.
_PARTS = {
    "diagnostics": ("[Callback]Recurrence.", "[LightningModule]"),
    "saving": ("[Callback]Checkpointing.",),
    "loader": ("[_TrainingEpochLoop].train_dataloader_next",),
}
_OF_THE_MODULE = ".on_before_backward"  # checks that the loss is finite; the module's other hooks are training itself


def overhead(config: AnyConfig, steps: int | None) -> Table:
    """Train once, with validation, and measure.

    Args:
        config: the config of the run.
        steps: the steps of the run; None means all of the config's.

    Returns:
        A row for each hook of diagnostics, saving and the loader: `part`, `hook`, `calls`, `milliseconds` per call, and
        `share` of the run's seconds; then a row for the sum of each part. All of saving and of the loader counts, not
        only what makes them durable and resumable.
    """
    quiet()
    trainer = dataclasses.replace(config.trainer, profiler="simple", max_steps=steps or config.trainer.max_steps)
    config = dataclasses.replace(config, trainer=trainer)
    profiler = fit(config, load_data(config)).trainer.profiler  # type: ignore[attr-defined]
    assert isinstance(profiler, SimpleProfiler)
    taken = profiler.recorded_durations
    whole = sum(taken["run_training_epoch"])
    rows, sums = [], []
    for part, names in _PARTS.items():
        ours = {
            name: seconds
            for name, seconds in taken.items()
            if name.startswith(names) and (not name.startswith("[LightningModule]") or name.endswith(_OF_THE_MODULE))
        }
        rows += [_row(part, name.partition("]")[2].lstrip("."), ours[name], whole) for name in ours]
        sums.append(_row(part, "together", [sum(map(sum, ours.values()))], whole))
    columns = {
        "part": Column("part"),
        "hook": Column("hook"),
        "calls": Column("calls", "{:,}"),
        "milliseconds": Column("ms a call", "{:.2f}"),
        "share": Column("of the run", "{:.2%}"),
    }
    shown = [row for row in rows if row["share"] > 1e-4] + sums
    caption = f"{config.task}, one run with its validations, {whole:.0f} s, by Lightning's profiler"
    return Table("overhead", caption, columns, shown, 2, (Bars("share of the run", {"share": "share"}),))


def _row(part: str, hook: str, seconds: list[float], whole: float) -> Row:
    each = round(1e3 * sum(seconds) / len(seconds), 3)
    return {"part": part, "hook": hook, "calls": len(seconds), "milliseconds": each, "share": sum(seconds) / whole}
