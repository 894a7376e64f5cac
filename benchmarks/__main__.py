"""Measure: `python -m benchmarks TABLE` compares different ways to do the same work, in turns.

It prints the table, and writes it to the folder `--out` as JSON, as Markdown and as a picture. The textbook is Raschka,
Liu & Mirjalili, *Machine Learning with PyTorch and Scikit-Learn* (2022), chapter 15.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from benchmarks.request import Request, Settings, read
from unroll import cli, runtime
from unroll.errors import ConfigError
from unroll.tasks.spec import TASKS

TEXTBOOK = {"imdb": "experiment=textbook_imdb", "mysterious_island": "experiment=textbook_charlm"}

# Settings that a peer follows as well: those of the reviews, and those of both tasks.
OF_REVIEWS, OF_BOTH = (
    ("data.path=", "data.folder=", "data.source=", "data.split=", "data.limit="),
    ("seed=", "threads="),
)

# A table imports torch, after `prepared` has set up the process for it.
if TYPE_CHECKING:
    from benchmarks.table import Table


def imdb(request: Request) -> Table:
    """training the textbook's sentiment model (steps: batches per turn)"""
    config = prepared(request.reviews())
    from benchmarks.training import training

    return training(config, request.steps or 40, request.rounds)


def charlm(request: Request) -> Table:
    """training the textbook's language model (steps: batches per turn)"""
    config = prepared(request.charlm())
    from benchmarks.training import training

    return training(config, request.steps or 30, request.rounds)


def encoders(request: Request) -> Table:
    """packed against padded, for every cell, direction and size (steps: of a row)"""
    config = prepared(request.reviews())
    from benchmarks.encoders import encoders

    return encoders(config, request.steps or 64, request.rounds)


def inference(request: Request) -> Table:
    """labelling and writing texts, against the textbook's code (steps: texts per turn)"""
    reviews = prepared(request.reviews())
    from benchmarks.inference import inference

    return inference(reviews, read(request.novel()), request.steps or 50, request.rounds)


def startup(request: Request) -> Table:
    """imports, the time from the command to the first step, tokenising"""
    from benchmarks.startup import startup

    return startup(request.reviews("task=imdb"), request.novel("task=mysterious_island"), request.rounds)


def scaling(request: Request) -> Table:
    """time and memory against length, rows, layers, corpus (steps: of the longest rows)"""
    config = prepared(request.reviews())
    from benchmarks.scaling import scaling

    return scaling(config, request.steps or 8192, request.rounds)


def scale(request: Request) -> Table:
    """tokenising, memory and start against --texts and --reviews (steps: of each run); long"""
    from benchmarks.scale import scale

    return scale(request.texts, request.review_counts, request.steps or 20, request.settings)


def overhead(request: Request) -> Table:
    """the share of a run's time in diagnostics, saving and the loader (steps: of the run)"""
    config = prepared(request.default())
    from benchmarks.overhead import overhead

    return overhead(config, request.steps)


def busy(request: Request) -> Table:
    """training beside a process that keeps a core busy (steps: of a run)"""
    from benchmarks.busy import busy

    recipes = {"reviews": request.reviews("task=imdb"), "novel": request.novel("task=mysterious_island")}
    return busy(recipes, request.steps or 150, request.rounds)


def processes(request: Request) -> Table:
    """data-parallel training in one to four processes (steps: of a run); long"""
    from benchmarks.processes import processes

    recipes = {"reviews": request.reviews("task=imdb"), "novel": request.novel("task=mysterious_island")}
    return processes({name: read(settings) for name, settings in recipes.items()}, request.steps or 60, request.rounds)


def serving(request: Request) -> Table:
    """`unroll serve` against FastAPI with a call of torch a request (steps: seconds of a cell, 30)"""
    config = prepared(request.reviews())
    from benchmarks.serving import serving

    return serving(config, request.steps or 30, request.rounds)


def time_to_quality(request: Request) -> Table:
    """seconds until as good as the textbook's final model (steps: of the textbook's run); long"""
    settings = request.default()
    ours = prepared(settings)
    same = [setting for setting in settings if setting.startswith(("data.", "trainer.accelerator="))]
    textbook = read([TEXTBOOK[ours.task], *same])
    from benchmarks.quality import time_to_quality

    return time_to_quality(textbook, ours, request.steps, request.rounds)


def baselines(request: Request) -> Table:
    """default recipes, n-grams, compressors, mixtures (steps: of the recipes); long"""
    reviews = prepared(request.reviews("task=imdb"))
    novel = read(request.novel("task=mysterious_island"))
    from benchmarks.baselines import baselines

    return baselines(reviews, novel, request.steps)


def peers(request: Request) -> Table:
    """the same models in Keras 3 and fastai, in turns with ours (steps: batches of an epoch); long"""
    if request.device != "cpu":
        raise ConfigError(f"--device {request.device}: this table compares on the CPU alone; leave --device out")
    for setting in request.settings:
        if not setting.startswith(OF_REVIEWS + OF_BOTH):
            raise ConfigError(
                f"{setting}: other libraries do not follow it; this table takes {' '.join(OF_REVIEWS + OF_BOTH)}"
            )
    both = [setting for setting in request.settings if setting.startswith(OF_BOTH)]
    from benchmarks.peers import AWD_LSTM, FASTAI, KERAS, Comparison, peers

    comparisons = [
        Comparison("reviews", read(request.reviews()), KERAS),
        Comparison("novel", read(request.novel("experiment=textbook_charlm", *both)), KERAS),
        Comparison("novel, AWD-LSTM", read(request.novel("experiment=textbook_charlm", *AWD_LSTM, *both)), FASTAI),
    ]
    return peers(comparisons, request.environment, request.steps, request.rounds)


TABLES: dict[str, Callable[[Request], Table]] = {
    "imdb": imdb,
    "charlm": charlm,
    "encoders": encoders,
    "inference": inference,
    "startup": startup,
    "scaling": scaling,
    "scale": scale,
    "overhead": overhead,
    "busy": busy,
    "processes": processes,
    "serving": serving,
    "time-to-quality": time_to_quality,
    "baselines": baselines,
    "peers": peers,
}


def prepared(settings: Settings) -> Any:
    """Set up the process for the task of the settings, and return its config."""
    config = read(settings)
    runtime.configure(config.threads, full_windows=TASKS[config.kind].full_windows)
    return config


def main() -> None:
    explained = "\n".join(f"  {name:<16} {table.__doc__}" for name, table in TABLES.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure different ways to do the same work, in turns, and print and draw the medians.",
        epilog=f"tables:\n{explained}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("table", choices=TABLES, metavar="TABLE", help=", ".join(TABLES))
    parser.add_argument("--steps", type=positive, help="the work of each way in a turn; see the table")
    parser.add_argument("--rounds", type=positive, default=5, help="turns to take the median of (default: 5)")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where to compute (default: cpu)")
    parser.add_argument("--novel", type=Path, metavar="FILE", help="the novel, for a table that also reads reviews")
    parser.add_argument(
        "--texts", type=positive, nargs="*", metavar="MB", default=[1000, 4295], help="sizes of texts, for scale"
    )
    parser.add_argument(
        "--reviews", type=positive, nargs="*", metavar="N", default=[10**6, 5 * 10**6], help="reviews, for scale"
    )
    parser.add_argument(
        "--environment",
        type=Path,
        metavar="FOLDER",
        default=Path("runs/peers"),
        help="environment with other libraries, for peers (default: %(default)s)",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("runs/benchmarks"), help="folder for the table's files (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print each row as a JSON object")
    parser.add_argument("settings", nargs="*", metavar="key=value", help="settings of train.py, such as data.path=…")
    arguments = parser.parse_intermixed_args()
    request = Request(
        arguments.steps,
        arguments.rounds,
        arguments.device,
        arguments.settings,
        arguments.novel,
        arguments.environment,
        texts=arguments.texts,
        review_counts=arguments.reviews,
    )
    if request.device == "cuda":
        check_cuda()
    table = TABLES[arguments.table](request)
    if request.stands_in:
        table = dataclasses.replace(table, caption=f"{table.caption}; film reviews stand in for the novel")
    # A pipe or a file has no width of its own: use one at which no line is folded.
    table.show(Console(width=None if sys.stdout.isatty() else 160), arguments.json)
    picture = table.save(arguments.out)
    if not arguments.json:
        print(f"also written to {picture}, {picture.with_suffix('.json')} and {picture.with_suffix('.md')}")


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
