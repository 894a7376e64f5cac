"""What diagnostics, saving and the loader take of a run's time, by the clock of Lightning's profiler."""

from __future__ import annotations

import dataclasses

from lightning.pytorch.profilers import SimpleProfiler

from benchmarks.request import AnyConfig
from benchmarks.runs import fit
from benchmarks.table import Bars, Column, Row, Table
from unroll.tasks.spec import load_data
from unroll.training.run import quiet

# What the profiler calls the places where each spends its time.
_PARTS = {
    "diagnostics": ("[Callback]Recurrence.", "[LightningModule]"),
    "saving": ("[Callback]Checkpointing.",),
    "loader": ("[_TrainingEpochLoop].train_dataloader_next",),
}
_OF_THE_MODULE = ".on_before_backward"  # the check for a loss that is not finite; its other hooks are the training


def overhead(config: AnyConfig, steps: int | None) -> Table:
    """Train once, validation included, and take the time.

    Args:
        config: of the run.
        steps: of the run, if not all that it has.

    Returns:
        A row for each hook of the diagnostics, of saving, and of the loader: `part`, the `hook`, its `calls`,
        `milliseconds` each, and their `share` of the run's seconds; and after them one for each part together. Saving
        and the loader count whole, not only what makes them durable and resumable.
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
