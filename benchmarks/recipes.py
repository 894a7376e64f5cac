"""The results of recipes: `python -m benchmarks.recipes [FOLDER]`, of finished runs in FOLDER/RECIPE/RUN.

A recipe's runs differ by their seeds alone, and make one row. Where each run's folder holds what

    unroll evaluate CKPT --mix --split val > RUN/mixed_val.json
    unroll evaluate CKPT --mix > RUN/mixed_test.json

print, the mixtures have rows of their own.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from benchmarks.table import Column, Row, Table
from unroll import cli, durable
from unroll.errors import UserError


class Figure(NamedTuple):
    """What a kind of recipe is judged by."""

    name: str  # as in summary.json, without its split
    unit: str
    factor: float
    digits: int


FIGURES = (Figure("bpc", " bits", 1, 3), Figure("accuracy", " %", 100, 1))  # a language model has both
FITTED = {
    "calibrated_{}": "its logits divided by a fitted temperature",
    "mixed_{}": "with n-grams",
    "dynamic_{}": "learning from the text",
    "dynamic_mixed_{}": "with n-grams, both learning from the text",
}


def recipes(folder: Path) -> Table:
    """Sum up runs: the figures' means and, with several runs, their standard deviations; the means of what it costs. (A
    seed chooses the validation reviews, too, and with them the vocabulary.)

    Raises:
        UserError: the folder holds no finished run, or runs of a recipe are of several tasks or data sets.
    """
    paths = sorted(folder.glob("*/*/summary.json"))
    runs: dict[str, list[Path]] = {}
    for path in paths:
        if json.loads(path.read_text())["status"] == "completed":
            runs.setdefault(path.parent.parent.name, []).append(path.parent)
    if not runs:
        raise UserError(f"{folder}: holds no finished run in RECIPE/RUN; train one by unroll train run_dir=RECIPE/RUN")
    columns = {
        "recipe": Column("recipe"),
        "what": Column("what"),
        "runs": Column("runs"),
        "val": Column("validation"),
        "test": Column("test"),
        "parameters": Column("parameters", "{:,}"),
        "minutes": Column("minutes of training", "{:.1f}"),
        "mib": Column("MiB", "{:,.0f}"),
    }
    rows = [row for recipe, of_it in runs.items() for row in _rows(recipe, of_it)]
    caption = "means over runs with different seeds ± their standard deviation; test was read once, after all choices"
    return Table("recipes", caption, columns, rows, 2)


def _rows(recipe: str, runs: Sequence[Path]) -> list[Row]:
    summaries = [json.loads((run / "summary.json").read_text()) for run in runs]
    if len({(summary["task"], summary["data"]["origin"]) for summary in summaries}) > 1:
        raise UserError(f"{runs[0].parent}: its runs differ in task or data; keep the runs of one recipe in a folder")
    known = [set(summary["metrics"]) for summary in summaries]
    figure = next((each for each in FIGURES if all(f"test/{each.name}" in names for names in known)), None)
    if figure is None:
        raise UserError(f"{runs[0].parent}: a run in it has no figures of test; train it without limit_test_batches=0")

    def row(what: str, splits: dict[str, list[float]]) -> Row:
        shown = {split: _spread(values, figure) for split, values in splits.items()}
        return {"recipe": recipe, "what": what, "runs": len(runs), **shown}

    pure = {split: [summary["metrics"][f"{split}/{figure.name}"] for summary in summaries] for split in ("val", "test")}
    costs = {
        "parameters": round(statistics.mean(summary["model"]["parameters"] for summary in summaries)),
        "minutes": statistics.mean(map(_minutes, summaries)),
        "mib": statistics.mean(summary["train"]["peak_memory_mib"] for summary in summaries),
    }
    rows = [row("the recurrent net", pure) | costs]
    mixed = {split: [_mixed(run, split) for run in runs] for split in ("val", "test")}
    for pattern, what in FITTED.items():
        name = pattern.format(figure.name)
        if all(name in found for split in mixed.values() for found in split):
            rows.append(row(what, {split: [found[name] for found in each] for split, each in mixed.items()}))
    return rows


def _minutes(summary: dict[str, Any]) -> float:
    """Return the time in training steps of a run and of its pretraining."""
    return float(summary["train"]["seconds"] + summary.get("pretraining", {"seconds": 0})["seconds"]) / 60


def _mixed(run: Path, split: str) -> dict[str, Any]:
    path = run / f"mixed_{split}.json"
    return dict(json.loads(path.read_text())) if path.exists() else {}


def _spread(values: Sequence[float], figure: Figure) -> str:
    shown = [value * figure.factor for value in values]
    spread = f" ± {statistics.stdev(shown):.{figure.digits}f}" if len(shown) > 1 else ""
    return f"{statistics.mean(shown):.{figure.digits}f}{spread}{figure.unit}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Sum up the runs of recipes.")
    parser.add_argument("folder", nargs="?", type=Path, default=Path("runs/recipes"), help="default: %(default)s")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"), help="default: %(default)s")
    arguments = parser.parse_args()
    table = recipes(arguments.folder)
    table.show(Console(width=None if sys.stdout.isatty() else 160), as_json=False)
    durable.write_text(arguments.out / f"{table.name}.json", table.json())


if __name__ == "__main__":
    sys.exit(cli.run(main))
