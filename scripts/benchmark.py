"""Measure: `python scripts/benchmark.py TABLE` compares ways of doing the same, in turns.

Each table is printed, and kept as JSON and as a picture of bars in `--out`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from unroll import cli, openmp
from unroll.compose import compose
from unroll.config import ClassificationConfig, LanguageModelingConfig
from unroll.errors import ConfigError

if TYPE_CHECKING:
    from unroll.benchmarks.table import Table

SCRIPTS = Path(__file__).resolve().parent
REVIEWS, NOVEL = "experiment=textbook_imdb", "experiment=textbook_charlm"


@dataclass(frozen=True)
class Request:
    """What the command asks for."""

    steps: int | None
    rounds: int
    device: str
    settings: list[str]
    novel: list[str]

    def config(self, recipe: str, *more: str) -> Any:
        """The settings of a recipe, with the command's."""
        return compose(SCRIPTS.parent / "conf", [recipe, f"trainer.accelerator={self.device}", *self.settings, *more])

    def reviews(self, recipe: str = REVIEWS) -> ClassificationConfig:
        """Of a table that is of reviews."""
        for setting in self.settings:
            if setting.startswith(("task=", "experiment=")):
                raise ConfigError(f"{setting}: this table has a recipe of its own; leave it out")
        config = self.config(recipe)
        assert isinstance(config, ClassificationConfig)
        return config

    def text(self, recipe: str = NOVEL) -> LanguageModelingConfig:
        """Of a table that is of both; the command's settings are those of the reviews."""
        config = compose(SCRIPTS.parent / "conf", [recipe, f"trainer.accelerator={self.device}", *self.novel])
        assert isinstance(config, LanguageModelingConfig)
        return config


def imdb(request: Request) -> Table:
    """training of the textbook's sentiment model (steps: batches a turn)"""
    from unroll.benchmarks.training import training

    return training(request.reviews(), request.steps or 40, request.rounds)


def charlm(request: Request) -> Table:
    """training of the textbook's language model (steps: batches a turn)"""
    config = request.config(NOVEL, *request.novel)
    openmp.for_full_windows()
    from unroll.benchmarks.training import training

    return training(config, request.steps or 30, request.rounds)


def encoders(request: Request) -> Table:
    """packed against padded, every cell, direction and size (steps: of a row)"""
    from unroll.benchmarks.encoders import encoders

    return encoders(request.reviews(), request.steps or 64, request.rounds)


def inference(request: Request) -> Table:
    """labelling and writing, against the textbook's ways (steps: texts a turn)"""
    from unroll.benchmarks.inference import inference

    return inference(request.reviews(), request.text(), request.steps or 50, request.rounds)


def startup(request: Request) -> Table:
    """imports, from the command to the first step, tokenising"""
    from unroll.benchmarks.startup import startup

    reviews, novel = request.reviews("task=imdb"), request.text("task=mysterious_island")
    return startup(SCRIPTS / "train.py", reviews, novel, request.rounds)


def scaling(request: Request) -> Table:
    """time and memory against length, rows, layers, corpus (steps: of the longest rows)"""
    from unroll.benchmarks.scaling import scaling

    return scaling(request.reviews(), request.steps or 8192, request.rounds)


def overhead(request: Request) -> Table:
    """what diagnostics, saving and the loader take of a run's time (steps: of the run)"""
    config = request.config("task=imdb")
    if isinstance(config, LanguageModelingConfig):
        openmp.for_full_windows()
    from unroll.benchmarks.overhead import overhead

    return overhead(config, request.steps)


def time_to_quality(request: Request) -> Table:
    """seconds until as good as the textbook's recipe ends (steps: of the textbook's); long"""
    ours = request.config("task=imdb")
    is_novel = isinstance(ours, LanguageModelingConfig)
    settings = [setting for setting in request.settings if setting.startswith("data.")]
    settings.append(f"trainer.accelerator={request.device}")
    textbook = compose(SCRIPTS.parent / "conf", [NOVEL if is_novel else REVIEWS, *settings])
    if is_novel:
        openmp.for_full_windows()
    from unroll.benchmarks.quality import time_to_quality

    return time_to_quality(textbook, ours, request.steps, request.rounds)


TABLES: dict[str, Callable[[Request], Table]] = {
    "imdb": imdb,
    "charlm": charlm,
    "encoders": encoders,
    "inference": inference,
    "startup": startup,
    "scaling": scaling,
    "overhead": overhead,
    "time-to-quality": time_to_quality,
}


def main() -> None:
    explained = "\n".join(f"  {name:<16} {table.__doc__}" for name, table in TABLES.items())
    parser = argparse.ArgumentParser(
        description="Print, and draw, medians of measurements taken in turns.",
        epilog=f"tables:\n{explained}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("table", choices=TABLES, metavar="TABLE", help=", ".join(TABLES))
    parser.add_argument("--steps", type=positive, help="how much each way does in a turn")
    parser.add_argument("--rounds", type=positive, default=5, help="turns that are counted (default: 5)")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where to compute (default: cpu)")
    parser.add_argument("--novel", type=Path, metavar="FILE", help="the novel, where a table reads both it and reviews")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"), help="a folder for TABLE.json, TABLE.png")
    parser.add_argument("--json", action="store_true", help="print one JSON object a row")
    parser.add_argument(
        "settings", nargs="*", metavar="key=value", help="settings as for train.py, such as data.path=…"
    )
    arguments = parser.parse_intermixed_args()
    novel = [] if arguments.novel is None else [f'data.path="{arguments.novel}"']
    request = Request(arguments.steps, arguments.rounds, arguments.device, arguments.settings, novel)
    if request.device == "cuda":
        check_cuda()
    table = TABLES[arguments.table](request)
    # A pipe or a file has no width of its own, and folds nothing.
    table.show(Console(width=None if sys.stdout.isatty() else 160), arguments.json)
    picture = table.save(arguments.out)
    if not arguments.json:
        print(f"{picture.with_suffix('.json')} and {picture} hold the same")


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
