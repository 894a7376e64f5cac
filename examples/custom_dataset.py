"""A labelled data set of your own: trained by two settings, and then by a name of its own.

The table is made up. Like most tables it was not made for `unroll`: its delimiter is a semicolon, its columns have
names of their own, and its labels are numbers. Two settings name the columns, and there is nothing to program. Settings
that you need again can move into a file, here `examples/conf/task/shop.yaml`: then `task=shop` is enough. In a shell:

    unroll train task=classification data.path=data/shop.csv "data.text_column='What did you think of us?'" \
        "data.label_column='Mark (0-2)'"
    unroll train --config-dir examples/conf task=shop

This program does the same from Python:

    python examples/custom_dataset.py               # ten seconds
    python examples/custom_dataset.py --rows 500    # seconds
"""

from __future__ import annotations

import argparse
import csv
import random
from pathlib import Path
from typing import Any

import unroll

CONF = Path(__file__).parent / "conf"
TABLE = Path("data/shop.csv")
COLUMNS = ("No.", "What did you think of us?", "Mark (0-2)")
WHEN = ("In May", "Last week", "On Monday", "At noon", "Once more", "Before Easter", "Today")
THINGS = ("staff", "till", "shop", "bakery", "delivery", "sale", "queue")
WORDS = {0: ("rude", "slow", "dirty"), 1: ("fine", "normal", "acceptable"), 2: ("friendly", "quick", "superb")}
QUICK = ["encoder.hidden_size=16", "model.embedding_size=16", "optimizer.learning_rate=0.02", "threads=1"]


def write_table(path: Path, rows: int) -> None:
    """Write a csv of made-up opinions. Few of them are 1."""
    random_ = random.Random(0)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, delimiter=";")
        table.writerow(COLUMNS)
        for number in range(1, rows + 1):
            mark = random_.choices((0, 1, 2), weights=(4, 1, 5))[0]
            thing, other, third = random_.sample(THINGS, 3)
            word, second = random_.choices(WORDS[mark], k=2)
            opinion = f"{random_.choice(WHEN)} the {thing} was {word}; the {other} and the {third} were {second}."
            table.writerow([number, opinion, mark])


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description="Train on a data set of your own.")
    parser.add_argument("--rows", type=int, default=2000)
    given = parser.parse_args(arguments)
    write_table(TABLE, given.rows)

    columns = [f"data.text_column='{COLUMNS[1]}'", f"data.label_column='{COLUMNS[2]}'"]
    by_settings = unroll.train("classification", [f"data.path={TABLE}", *columns, *QUICK])
    by_name = unroll.train("shop", ["threads=1"], config_dir=CONF)

    for name, summary in {"by settings": by_settings, "by name": by_name}.items():
        model = unroll.load(summary["checkpoints"]["best"])
        answer = model.predict(["Today the till was friendly."])[0]
        print(
            f"{name}: classes {', '.join(model.labels)}; accuracy {summary['metrics']['test/accuracy']:.3f}; "
            f"'Today the till was friendly.' is {answer.label}"
        )
    return by_name


if __name__ == "__main__":
    main()
