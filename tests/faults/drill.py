"""The fault drill: `make drill` strikes long, the test suite a little. It prints what was tried, survived, and lost."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import unroll
from tests.faults import damage, fuzz, hostile, kills
from tests.faults.full import full, may_mount
from tests.faults.outcome import Outcome
from unroll import checkpoint

TASKS = ("imdb", "mysterious_island")


@dataclass(frozen=True)
class Length:
    """How often to strike, each kind of fault."""

    kills: int  # of each task
    damaged: int  # files of each kind
    fuzzed: int  # inputs of each kind
    full: int  # disks of each task


LONG, SHORT = Length(kills=30, damaged=200, fuzzed=1500, full=12), Length(kills=1, damaged=20, fuzzed=30, full=1)


def drill(folder: Path, length: Length) -> Iterator[Outcome]:
    """Strike, and yield what came of each kind of fault."""
    for task in TASKS:
        yield kills.kill(task, folder, length.kills)
    runs = {task: folder / f"{task}_whole" for task in TASKS}
    good = {task: run / "checkpoints" / "last.ckpt" for task, run in runs.items()}
    yield damage.checkpoints(folder, length.damaged, good["imdb"])
    yield damage.fallbacks(folder, length.damaged, runs["mysterious_island"])
    yield damage.caches(folder, length.damaged)
    yield damage.settings(folder, length.damaged)
    for suffix in ("parquet", "csv"):
        yield damage.tables(folder, length.damaged, suffix)
    classifier, language_model = (unroll.load(good[task]) for task in TASKS)
    yield from fuzz.texts(length.fuzzed, classifier, language_model)  # type: ignore[arg-type]
    yield from fuzz.files(length.fuzzed, folder)
    yield fuzz.configs(length.fuzzed)
    content: dict[str, Any] = checkpoint.load(good["imdb"])
    yield hostile.hostile(folder, content)
    mounted = may_mount(folder)
    smallest, step = (150_000, 40_000) if mounted else (20_000, 15_000)
    for task in TASKS:
        yield full(task, folder, [smallest + step * number for number in range(length.full)], mounted)


def main() -> int:
    table = Table("fault", "tried", "survived", "lost", "of which", box=None, padding=(0, 2, 0, 0))
    for column in table.columns[1:4]:
        column.justify = "right"
    console, lost, outcomes = Console(soft_wrap=True), [], []
    console.width = max(console.width, 120)  # lines of figures do not fold
    with tempfile.TemporaryDirectory() as folder:
        for outcome in drill(Path(folder), LONG):
            console.print(f"{outcome.fault}: {outcome.survived:,} of {outcome.tried:,}", highlight=False)
            outcomes.append(outcome)
            lost += outcome.lost
    for outcome in outcomes:
        notes = ", ".join(f"{count:,} {what}" for what, count in outcome.notes.items())
        counts = (f"{outcome.tried:,}", f"{outcome.survived:,}", f"{len(outcome.lost):,}")
        table.add_row(outcome.fault, *counts, notes)
    total = [sum(numbers) for numbers in zip(*((o.tried, o.survived, len(o.lost)) for o in outcomes), strict=True)]
    table.add_row("together", *(f"{number:,}" for number in total), "")
    console.print()
    console.print(table)
    for what in lost[:20]:
        console.print(what, highlight=False, markup=False)
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
