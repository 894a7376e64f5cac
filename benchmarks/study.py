"""What a setting changes: `python -m benchmarks.study FOLDER`, of finished runs in FOLDER/RUN.

Each run is a row: the settings by which it differs from the others, and how good it is on validation. The table and its
picture have the folder's name.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from benchmarks.table import Bars, Column, Table
from unroll import cli
from unroll.config import flat
from unroll.errors import UserError

FIGURES: dict[str, tuple[str, str, Callable[[float], float]]] = {  # by what runs are compared; less is better
    "val/bpc": ("validation, bits per character", "{:.3f}", float),
    "val/accuracy": ("validation error", "{:.1%}", lambda accuracy: 1 - accuracy),
    "val/loss": ("validation loss, nats", "{:.3f}", float),
}
# Of no weight for the result, or shown in columns of their own.
OF_THE_RUN = ("run_dir", "init_from", "threads", "data.folder", "trainer.max_steps", "trainer.limit_test_batches")


def study(folder: Path) -> Table:
    """Compare runs, the best first.

    Raises:
        UserError: the folder holds no finished run, or runs of several tasks.
    """
    found = {path.parent: json.loads(path.read_text()) for path in sorted(folder.glob("*/summary.json"))}
    found = {run: summary for run, summary in found.items() if summary["status"] == "completed"}
    names = [next((name for name in FIGURES if name in summary["metrics"]), "") for summary in found.values()]
    if len(set(names)) != 1:
        raise UserError(f"{folder}: its folders must hold finished runs of one task; train some by unroll train")
    heading, form, figure = FIGURES[names[0]]
    rows = [
        {
            "settings": differs,
            "figure": figure(summary["metrics"][names[0]]),
            "tokens": summary["train"]["tokens"] / 1e6,
            "steps": summary["train"]["steps"],
        }
        for differs, summary in zip(differences([_settings(run) for run in found]), found.values(), strict=True)
    ]
    rows.sort(key=lambda row: row["figure"])
    columns = {
        "settings": Column("settings"),
        "figure": Column(heading, form),
        "tokens": Column("million tokens", "{:.1f}"),
        "steps": Column("steps", "{:,}"),
    }
    caption = f"{len(rows)} runs, a seed each; what they do not name is the same for all"
    return Table(f"study_{folder.name}", caption, columns, rows, 1, (Bars(heading, {"figure": heading}),))


def differences(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return, for each run, those of its settings that are not as in most runs, `key=value` each."""
    usual = {
        key: Counter(json.dumps(run.get(key)) for run in runs).most_common(1)[0][0]
        for key in sorted({key for run in runs for key in run} - {*OF_THE_RUN})
    }
    return [
        " ".join(f"{key}={json.dumps(run.get(key))}" for key in usual if json.dumps(run.get(key)) != usual[key])
        or "as most runs"
        for run in runs
    ]


def _settings(run: Path) -> dict[str, Any]:
    return flat(yaml.safe_load((run / "config.yaml").read_text()))


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare runs by their settings.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"), help="default: %(default)s")
    arguments = parser.parse_args()
    table = study(arguments.folder)
    table.show(Console(width=None if sys.stdout.isatty() else 160), as_json=False)
    table.save(arguments.out)


if __name__ == "__main__":
    sys.exit(cli.run(main))
