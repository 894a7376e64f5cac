"""Training beside another process that keeps one core busy."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from benchmarks.request import Settings
from benchmarks.runs import training_process
from benchmarks.table import Bars, Column, Row, Table
from benchmarks.turns import Way, ratio, take_turns
from unroll.runtime import usable_cores

# It ends by itself if the benchmark is killed.
_LOOP = """
import os
parent = os.getppid()
while os.getppid() == parent:
    for _ in range(1_000_000):
        pass
"""


def busy(recipes: dict[str, Settings], steps: int, rounds: int) -> Table:
    """Compare the speed of training alone and beside a busy process. Each run is a process of its own.

    Args:
        recipes: settings of the runs, by the name of the task.
        steps: steps of each run; there is no validation.
        rounds: turns to take the median of.

    Returns:
        A row for each recipe: tokens/s alone and beside the busy process, their ratio, and this ratio divided by the
        fair share. On c cores that are all in use, one more process leaves the others c / (c + 1).
    """
    ways: dict[str, Way] = {}
    for task, settings in recipes.items():
        ways[f"{task}, alone"] = partial(_speed, settings, steps)
        ways[f"{task}, beside"] = partial(_speed_beside, settings, steps)
    figures = take_turns(ways, rounds, warm_up=0)
    fair = usable_cores() / (usable_cores() + 1)
    rows: list[Row] = []
    for task in recipes:
        alone, beside = f"{task}, alone", f"{task}, beside"
        row: Row = {"task": task, "alone": statistics.median(figures[alone])}
        share = ratio(figures, beside, alone)
        rows.append(row | {"beside": statistics.median(figures[beside]), "ratio": share, "of_fair": share / fair})
    columns = {
        "task": Column("task"),
        "alone": Column("alone, tokens/s", "{:,.0f}"),
        "beside": Column("beside a busy process", "{:,.0f}"),
        "ratio": Column("of the speed alone", "{:.2f}"),
        "of_fair": Column("of the fair share", "{:.2f}"),
    }
    caption = (
        f"default recipes, {steps} steps a run, medians of {rounds} rounds; the busy process is a Python loop; the "
        f"fair share of {usable_cores()} cores is {fair:.2f} of the speed alone"
    )
    bars = Bars("speed beside a busy process, of the fair share", {"of_fair": "of the fair share"})
    return Table("busy", caption, columns, rows, bars=(bars,))


def _speed(settings: Settings, steps: int, turn: int) -> float:
    """Run scripts/train.py and return the tokens/s of its training steps."""
    short = [f"trainer.max_steps={steps}", "trainer.limit_val_batches=0", "trainer.limit_test_batches=0"]
    with tempfile.TemporaryDirectory() as name:
        run_dir = Path(name, "run")
        with training_process([*settings, *short], run_dir) as process:
            process.wait()
        summary = json.loads((run_dir / "summary.json").read_text(encoding="utf-8"))
    return float(summary["train"]["tokens_per_second"])


def _speed_beside(settings: Settings, steps: int, turn: int) -> float:
    with _busy_process():
        return _speed(settings, steps, turn)


@contextmanager
def _busy_process() -> Iterator[subprocess.Popen[bytes]]:
    """Keep a core busy for as long as the block lasts."""
    with subprocess.Popen([sys.executable, "-c", _LOOP]) as process:
        try:
            yield process
        finally:
            process.kill()
