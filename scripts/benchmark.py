"""Measure: `python scripts/benchmark.py imdb` compares ways of training the textbook's model on real reviews."""

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

from unroll import cli
from unroll.config import Config, from_dict

CONF = Path(__file__).resolve().parent.parent / "conf"


def main() -> None:
    parser = argparse.ArgumentParser(description="Print medians of alternating measurements.")
    parser.add_argument("table", choices=("imdb",), help="imdb: training throughput of the textbook's sentiment model")
    parser.add_argument("--steps", type=int, default=60, help="batches each way trains on in a round (default: 60)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds that are counted (default: 5)")
    parser.add_argument("--json", action="store_true", help="one JSON object a row")
    parser.add_argument(
        "settings", nargs="*", metavar="key=value", help="settings as for train.py, such as data.path=…"
    )
    arguments = parser.parse_intermixed_args()
    ConfigStore.instance().store(name="schema", node=Config)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        values = compose("train", ["experiment=textbook_imdb", *arguments.settings])
    from unroll.benchmarks.imdb import measure

    rows = measure(from_dict(OmegaConf.to_container(values)), arguments.steps, arguments.rounds)
    if arguments.json:
        for row in rows:
            print(json.dumps(row))
        return
    table = Table("way", "tokens/s", "of the textbook's", "of the bare loop", box=None, padding=(0, 2, 0, 0))
    for column in table.columns[1:]:
        column.justify = "right"
    for row in rows:
        table.add_row(
            row["way"], f"{row['tokens_per_second']:,}", f"{row['of_textbook']:.1f} ×", f"{row['of_bare_loop']:.2f} ×"
        )
    Console().print(table)


if __name__ == "__main__":
    sys.exit(cli.run(main))
