"""Seconds until a model is as good as the textbook's recipe leaves it: the textbook's against the default recipe's."""

from __future__ import annotations

import dataclasses
import statistics
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console

from unroll.benchmarks.plain_classifier import accuracies
from unroll.benchmarks.plain_language_model import bits_per_character
from unroll.benchmarks.table import Bars, Row, Table
from unroll.benchmarks.turns import AnyConfig, plain_loops, take_turns
from unroll.config import ClassificationConfig, LanguageModelingConfig
from unroll.tasks.data import ClassificationData
from unroll.tasks.novel_data import NovelData
from unroll.training.monitoring import Throughput
from unroll.training.run import Run, load_data, quiet

VALIDATIONS = 4  # an epoch of the default recipe
SPEED_STEPS = 40  # batches of the textbook's loop that its speed is taken from in a turn


class Curve(Callback):
    """What each validation found, and the seconds of training until then."""

    def __init__(self, metric: str, throughput: Throughput) -> None:
        self.metric, self.throughput = metric, throughput
        self.points: list[tuple[float, float]] = []  # (seconds, figure)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == "fit":
            self.points.append((self.throughput.seconds, float(trainer.callback_metrics[self.metric])))


def time_to_quality(textbook: AnyConfig, ours: AnyConfig, steps: int | None, rounds: int) -> Table:
    """Train by both recipes, and compare the seconds of training that they need; validation is not counted.

    Args:
        textbook: of `experiment=textbook_imdb` or `experiment=textbook_charlm`.
        ours: the default recipe of the same task.
        steps: of the textbook's recipe, if not all of them.
        rounds: turns in which the speed of the textbook's loop is measured, before the default recipe and after it.

    Returns:
        A row for each recipe: the figure that counts, its steps, its seconds; and their ratio. The textbook's seconds
        are its steps by the speed of its own loop. A recipe that never gets there has no seconds.
    """
    quiet()
    steps, figure, best = _textbook(textbook, steps)
    tokens = _tokens(textbook, steps)
    with plain_loops(textbook) as plain:
        way = {"textbook": partial(plain, "textbook", min(steps, SPEED_STEPS))}
        speeds = take_turns(way, rounds)["textbook"]
        points = _default(ours)
        speeds += take_turns(way, rounds)["textbook"]
    seconds = tokens / statistics.median(speeds)
    is_novel = isinstance(ours, LanguageModelingConfig)
    sign = -1 if is_novel else 1
    reached = next((point for point in points if sign * point[1] >= sign * figure), (None, None))
    final = points[-1]
    rows: list[Row] = [
        {"recipe": "the textbook's, at its end", "figure": figure, "seconds": seconds, "sooner": 1.0},
        {"recipe": "the textbook's, its best validation", "figure": best},
        {"recipe": "unroll's, as good as that end", "figure": reached[1], "seconds": reached[0]},
        {"recipe": "unroll's, at its end", "figure": final[1], "seconds": final[0]},
    ]
    for row in rows[2:]:
        row["sooner"] = seconds / row["seconds"] if row["seconds"] else None
    columns = {
        "recipe": ("recipe", "{}"),
        "figure": ("bits per character" if is_novel else "accuracy", "{:.3f}"),
        "seconds": ("seconds of training", "{:,.0f}"),
        "sooner": ("sooner", "{:.0f} ×"),
    }
    caption = (
        f"{textbook.task}, validation; the textbook's {steps:,} steps at {statistics.median(speeds):,.0f} a second "
        f"(median of {len(speeds)} measurements of its loop), unroll's default recipe validated as it goes"
    )
    bars = Bars("seconds of training", {"seconds": "seconds"})
    name = f"time-to-quality_{'charlm' if is_novel else 'imdb'}"
    return Table(name, caption, columns, rows, 1, (bars,))


def _textbook(config: AnyConfig, steps: int | None) -> tuple[int, float, float]:
    """Return the steps of the recipe, the validation figure at its end, and the best on the way."""
    data: Any = load_data(config)
    if isinstance(config, ClassificationConfig):
        batches = -(-len(data.train) // 32)
        epochs = config.trainer.max_epochs or 1
        if steps is not None:
            epochs = min(epochs, max(1, steps // batches))
        figures = list(accuracies(config, data, epochs))
        return epochs * batches, figures[-1], max(figures)
    steps = config.trainer.max_steps if steps is None else min(steps, config.trainer.max_steps)
    values = [bits for _, bits in bits_per_character(config, data, steps, max(1, steps // 20))]
    return steps, values[-1], min(values)


def _tokens(config: AnyConfig, steps: int) -> float:
    """Tokens that so many of the textbook's steps read."""
    data = load_data(config)
    if isinstance(config, LanguageModelingConfig):
        return steps * config.data.batch_size * config.tbptt.window
    assert isinstance(data, ClassificationData)
    return float(data.train.lengths.sum()) * steps / -(-len(data.train) // 32)


def _default(config: AnyConfig) -> list[tuple[float, float]]:
    """Train by the default recipe, validated several times an epoch; return (seconds, figure) of each validation."""
    data = load_data(config)
    trainer = dataclasses.replace(config.trainer, val_check_interval=1 / VALIDATIONS)
    with tempfile.TemporaryDirectory() as folder, Path(folder, "screen").open("w") as screen:
        run = Run(dataclasses.replace(config, trainer=trainer), data, Path(folder), Console(file=screen))
        curve = Curve(run.module.monitor, run.throughput)
        run.trainer.callbacks.append(curve)  # type: ignore[attr-defined]
        run.trainer.fit(run.module, data)
    assert isinstance(data, (ClassificationData, NovelData))
    return curve.points
