"""Measure: `python -m benchmarks TABLE` compares ways of doing the same, in turns.

Each table is printed, and kept as JSON, as Markdown and as a picture of bars in `--out`.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from rich.console import Console

from benchmarks.request import Request, read, read_novel, read_reviews
from unroll import cli, runtime
from unroll.errors import ConfigError
from unroll.tasks.spec import TASKS

TEXTBOOK = {"imdb": "experiment=textbook_imdb", "mysterious_island": "experiment=textbook_charlm"}

# The tables import torch, whose threads are set before that.
if TYPE_CHECKING:
    from benchmarks.table import Table
    from unroll.config import Config

AnyConfig = TypeVar("AnyConfig", bound="Config")


def imdb(request: Request) -> Table:
    """training of the textbook's sentiment model (steps: batches a turn)"""
    from benchmarks.training import training

    return training(prepared(read_reviews(request.reviews())), request.steps or 40, request.rounds)


def charlm(request: Request) -> Table:
    """training of the textbook's language model (steps: batches a turn)"""
    config = prepared(read(request.charlm()))
    from benchmarks.training import training

    return training(config, request.steps or 30, request.rounds)


def encoders(request: Request) -> Table:
    """packed against padded, every cell, direction and size (steps: of a row)"""
    from benchmarks.encoders import encoders

    return encoders(prepared(read_reviews(request.reviews())), request.steps or 64, request.rounds)


def inference(request: Request) -> Table:
    """labelling and writing, against the textbook's ways (steps: texts a turn)"""
    reviews, novel = prepared(read_reviews(request.reviews())), read_novel(request.novel())
    from benchmarks.inference import inference

    return inference(reviews, novel, request.steps or 50, request.rounds)


def startup(request: Request) -> Table:
    """imports, from the command to the first step, tokenising"""
    from benchmarks.startup import startup

    return startup(request.reviews("task=imdb"), request.novel("task=mysterious_island"), request.rounds)


def scaling(request: Request) -> Table:
    """time and memory against length, rows, layers, corpus (steps: of the longest rows)"""
    from benchmarks.scaling import scaling

    return scaling(prepared(read_reviews(request.reviews())), request.steps or 8192, request.rounds)


def overhead(request: Request) -> Table:
    """what diagnostics, saving and the loader take of a run's time (steps: of the run)"""
    config = prepared(read(request.default()))
    from benchmarks.overhead import overhead

    return overhead(config, request.steps)


def busy(request: Request) -> Table:
    """training beside a process that keeps a core busy (steps: of a run)"""
    from benchmarks.busy import busy

    recipes = {"reviews": request.reviews("task=imdb"), "novel": request.novel("task=mysterious_island")}
    return busy(recipes, request.steps or 150, request.rounds)


def time_to_quality(request: Request) -> Table:
    """seconds until as good as the textbook's recipe ends (steps: of the textbook's); long"""
    settings = request.default()
    ours = prepared(read(settings))
    same = [setting for setting in settings if setting.startswith(("data.", "trainer.accelerator="))]
    textbook = read([TEXTBOOK[ours.task], *same])
    from benchmarks.quality import time_to_quality

    return time_to_quality(textbook, ours, request.steps, request.rounds)


TABLES: dict[str, Callable[[Request], Table]] = {
    "imdb": imdb,
    "charlm": charlm,
    "encoders": encoders,
    "inference": inference,
    "startup": startup,
    "scaling": scaling,
    "overhead": overhead,
    "busy": busy,
    "time-to-quality": time_to_quality,
}


def prepared(config: AnyConfig) -> AnyConfig:
    """Set up the process for the task, and return the config."""
    runtime.configure(config.threads, full_windows=TASKS[config.kind].full_windows)
    return config


def main() -> None:
    explained = "\n".join(f"  {name:<16} {table.__doc__}" for name, table in TABLES.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Print, and draw, medians of measurements taken in turns.",
        epilog=f"tables:\n{explained}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("table", choices=TABLES, metavar="TABLE", help=", ".join(TABLES))
    parser.add_argument("--steps", type=positive, help="how much each way does in a turn")
    parser.add_argument("--rounds", type=positive, default=5, help="turns that are counted (default: 5)")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where to compute (default: cpu)")
    parser.add_argument("--novel", type=Path, metavar="FILE", help="the novel, where a table reads both it and reviews")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"), help="a folder for the files of the table")
    parser.add_argument("--json", action="store_true", help="print one JSON object a row")
    parser.add_argument(
        "settings", nargs="*", metavar="key=value", help="settings as for train.py, such as data.path=…"
    )
    arguments = parser.parse_intermixed_args()
    request = Request(arguments.steps, arguments.rounds, arguments.device, arguments.settings, arguments.novel)
    if request.device == "cuda":
        check_cuda()
    table = TABLES[arguments.table](request)
    if request.stands_in:
        table = dataclasses.replace(table, caption=f"{table.caption}; film reviews stand in for the novel")
    # A pipe or a file has no width of its own, and folds nothing.
    table.show(Console(width=None if sys.stdout.isatty() else 160), arguments.json)
    picture = table.save(arguments.out)
    if not arguments.json:
        print(f"{picture}, {picture.with_suffix('.json')} and {picture.with_suffix('.md')} hold the same")


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def check_cuda() -> None:
    import torch

    if not torch.cuda.is_available():
        raise ConfigError("--device cuda: torch finds no CUDA device here; leave --device out")


if __name__ == "__main__":
    sys.exit(cli.run(main))
