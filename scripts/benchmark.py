"""Measure: `python scripts/benchmark.py TABLE` compares ways of doing the same, in turns."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf
from rich.console import Console
from rich.table import Table

from unroll import cli, openmp
from unroll.config import SCHEMAS, LanguageModelingConfig, from_dict

CONF = Path(__file__).resolve().parent.parent / "conf"

# Each table's settings, the unit of its speeds, and its steps.
TABLES = {
    "imdb": ("textbook_imdb", "tokens/s", 60),
    "charlm": ("textbook_charlm", "characters/s", 40),
    "generate": ("textbook_charlm", "characters/s", 500),
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Print medians of alternating measurements.")
    parser.add_argument(
        "table",
        choices=TABLES,
        help="imdb, charlm: training of the textbook's sentiment model, its language model; generate: writing text",
    )
    parser.add_argument("--steps", type=int, help="batches, or characters, that each way takes in a round")
    parser.add_argument("--rounds", type=int, default=5, help="rounds that are counted (default: 5)")
    parser.add_argument("--json", action="store_true", help="one JSON object a row")
    parser.add_argument(
        "settings", nargs="*", metavar="key=value", help="settings as for train.py, such as data.path=…"
    )
    arguments = parser.parse_intermixed_args()
    experiment, unit, steps = TABLES[arguments.table]
    steps = arguments.steps or steps
    for task, schema in SCHEMAS.items():
        ConfigStore.instance().store(group="schema", name=task, node=schema)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        values = compose("train", [f"experiment={experiment}", *arguments.settings])
    config = from_dict(OmegaConf.to_container(values))
    if isinstance(config, LanguageModelingConfig):
        openmp.for_full_windows()
    from unroll.benchmarks.turns import generation, training

    if arguments.table == "generate":
        assert isinstance(config, LanguageModelingConfig)
        rows = generation(config, steps, arguments.rounds)
    else:
        rows = training(config, steps, arguments.rounds)
    if arguments.json:
        for row in rows:
            print(json.dumps(row))
        return
    table = Table("way", unit, "of the first", "of the second", box=None, padding=(0, 2, 0, 0))
    for column in table.columns[1:]:
        column.justify = "right"
    for row in rows:
        table.add_row(row["way"], f"{row['per_second']:,}", f"{row['of_first']:.1f} ×", f"{row['of_second']:.2f} ×")
    Console().print(table)


if __name__ == "__main__":
    sys.exit(cli.run(main))
