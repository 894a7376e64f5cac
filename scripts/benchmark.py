"""Measure: `python scripts/benchmark.py TABLE` compares ways of doing the same, in turns."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from unroll import cli, openmp
from unroll.compose import compose
from unroll.config import LanguageModelingConfig

CONF = Path(__file__).resolve().parent.parent / "conf"

# Each table's settings, the unit of its speeds, and its steps.
TABLES: dict[str, tuple[list[str], str, int]] = {
    "imdb": (["experiment=textbook_imdb"], "tokens/s", 60),
    "charlm": (["experiment=textbook_charlm"], "characters/s", 40),
    "generate": (["experiment=textbook_charlm"], "characters/s", 500),
    "overhead": ([], "", -1),
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Print medians of alternating measurements.")
    parser.add_argument(
        "table",
        choices=TABLES,
        help="imdb, charlm: training of the textbook's sentiment model, its language model; generate: writing text; "
        "overhead: what diagnostics, saving and the loader take of a run's time",
    )
    parser.add_argument("--steps", type=int, help="batches, or characters, that each way takes in a round")
    parser.add_argument("--rounds", type=int, default=5, help="rounds that are counted (default: 5)")
    parser.add_argument("--json", action="store_true", help="one JSON object a row")
    parser.add_argument(
        "settings", nargs="*", metavar="key=value", help="settings as for train.py, such as data.path=…"
    )
    arguments = parser.parse_intermixed_args()
    recipe, unit, steps = TABLES[arguments.table]
    steps = arguments.steps or steps
    config = compose(CONF, [*recipe, *arguments.settings])
    if isinstance(config, LanguageModelingConfig):
        openmp.for_full_windows()
    if arguments.table == "overhead":
        from unroll.benchmarks.overhead import overhead

        config.trainer.max_steps = steps
        show(overhead(config), arguments.json)
        return
    from unroll.benchmarks.turns import generation, training

    if arguments.table == "generate":
        assert isinstance(config, LanguageModelingConfig)
        rows = generation(config, steps, arguments.rounds)
    else:
        rows = training(config, steps, arguments.rounds)
    show(rows, arguments.json, unit)


def show(rows: list[dict[str, Any]], as_json: bool, unit: str = "") -> None:
    """Print rows of one form as a table, or each as a JSON object."""
    if as_json:
        for row in rows:
            print(json.dumps(row))
        return
    forms = {
        "hook": ("hook", "{}"),
        "per_second": (unit, "{:,}"),
        "of_first": ("of the first", "{:.1f} ×"),
        "of_second": ("of the second", "{:.2f} ×"),
        "calls": ("calls", "{:,}"),
        "milliseconds": ("ms a call", "{:.2f}"),
        "share": ("of the run", "{:.2%}"),
    }
    name, *columns = rows[0]
    table = Table(name, *(forms[column][0] for column in columns), box=None, padding=(0, 2, 0, 0))
    for column in table.columns[2 if "hook" in columns else 1 :]:
        column.justify = "right"
    for row in rows:
        table.add_row(row[name], *(forms[column][1].format(row[column]) for column in columns))
    Console().print(table)


if __name__ == "__main__":
    sys.exit(cli.run(main))
