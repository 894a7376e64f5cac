"""Seconds of training until a model is as good as the textbook's final model, by the textbook's and the default recipe.

The textbook is Raschka, Liu & Mirjalili 2022, chapter 15.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Iterator
from functools import partial
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console

from benchmarks.plain_classifier import accuracies
from benchmarks.plain_language_model import bits_per_character
from benchmarks.request import AnyConfig
from benchmarks.runs import fit
from benchmarks.table import Bars, Column, Row, Table
from benchmarks.turns import plain_loops, take_turns
from unroll.config import ClassificationConfig, LanguageModelingConfig
from unroll.tasks.classification_data import ClassificationData
from unroll.tasks.module import TaskModule
from unroll.tasks.spec import load_data
from unroll.training.callbacks.throughput import Throughput
from unroll.training.run import quiet

VALIDATIONS = 4  # in an epoch of the default recipe
SPEED_STEPS = 40  # batches in a turn, to measure the speed of the textbook's loop


class Until(Callback):
    """Ends training as soon as the validation figure is good enough."""

    def __init__(self, target: float, console: Console) -> None:
        self.target, self.console = target, console
        self.figure = math.nan  # of the last validation
        self.seconds: float | None = None  # of training, until it was good enough

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn != "fit":
            return
        assert isinstance(pl_module, TaskModule)
        self.figure = float(trainer.callback_metrics[pl_module.monitor])
        seconds = next(callback.seconds for callback in trainer.callbacks if isinstance(callback, Throughput))  # type: ignore[attr-defined]
        self.console.print(f"unroll's: {self.figure:.3f} after {seconds:,.0f} s", highlight=False)
        better = max if pl_module.monitor_mode == "max" else min
        if better(self.figure, self.target) == self.figure:
            self.seconds, trainer.should_stop = seconds, True


def time_to_quality(textbook: AnyConfig, ours: AnyConfig, steps: int | None, rounds: int) -> Table:
    """Train by both recipes, and compare their seconds of training, without validation.

    Args:
        textbook: the config of `experiment=textbook_imdb` or `experiment=textbook_charlm`.
        ours: the config of the default recipe of the same task.
        steps: steps of the textbook's recipe; None means all.
        rounds: turns in which the speed of the textbook's loop is measured, both before and after the default recipe.

    Returns:
        A row for each recipe: the validation figure, the seconds, and the ratio of the seconds. The textbook's seconds
        are its tokens divided by the speed of its own loop. A recipe that never becomes as good has no seconds.
    """
    quiet()
    console = Console(stderr=True, soft_wrap=True)  # shows the progress
    data = load_data(textbook)
    steps, figure, best = _textbook(textbook, data, steps, console)
    tokens = _tokens(textbook, data, steps)
    with plain_loops(textbook) as plain:
        way = {"textbook": partial(plain, "textbook", min(steps, SPEED_STEPS))}
        speeds = take_turns(way, rounds)["textbook"]
        reached = _default(ours, figure, console)
        speeds += take_turns(way, rounds)["textbook"]
    seconds = tokens / statistics.median(speeds)
    is_novel = isinstance(ours, LanguageModelingConfig)
    rows: list[Row] = [
        {"recipe": "the textbook's, at its end", "figure": figure, "seconds": seconds, "sooner": 1.0},
        {"recipe": "the textbook's, its best validation", "figure": best},
        {"recipe": "unroll's default", "figure": reached.figure, "seconds": reached.seconds},
    ]
    if reached.seconds:
        rows[2]["sooner"] = seconds / reached.seconds
    columns = {
        "recipe": Column("recipe"),
        "figure": Column("bits per character" if is_novel else "accuracy", "{:.3f}"),
        "seconds": Column("seconds of training", "{:,.0f}"),
        "sooner": Column("sooner", "{:.0f} ×"),
    }
    caption = (
        f"{textbook.task}, validation; the textbook's {steps:,} steps, {tokens:,.0f} tokens, at "
        f"{statistics.median(speeds):,.0f} a second (median of {len(speeds)} measurements of its loop); unroll's "
        f"default recipe until its validation, {VALIDATIONS} an epoch, is as good"
    )
    bars = Bars("seconds of training", {"seconds": "seconds"})
    name = f"time-to-quality_{'charlm' if is_novel else 'imdb'}"
    return Table(name, caption, columns, rows, bars=(bars,))


def _textbook(config: AnyConfig, data: Any, steps: int | None, console: Console) -> tuple[int, float, float]:
    """Return the steps of the recipe, the validation figure at its end, and the best on the way."""
    if isinstance(config, ClassificationConfig):
        batches = -(-len(data.train) // 32)
        epochs = config.trainer.max_epochs or 1
        if steps is not None:
            epochs = min(epochs, max(1, steps // batches))
        steps, better = epochs * batches, max
        curve: Iterator[tuple[int, float]] = (
            (epoch * batches, figure) for epoch, figure in enumerate(accuracies(config, data, epochs), 1)
        )
    else:
        steps, better = min(steps or config.trainer.max_steps, config.trainer.max_steps), min
        curve = bits_per_character(config, data, steps, max(1, steps // 20))
    figures = []
    for step, figure in curve:
        console.print(f"the textbook's: {figure:.3f} after {step:,} of {steps:,} steps", highlight=False)
        figures.append(figure)
    return steps, figures[-1], better(figures)


def _tokens(config: AnyConfig, data: Any, steps: int) -> float:
    """Return the tokens that `steps` of the textbook's batches read."""
    if isinstance(config, LanguageModelingConfig):
        return steps * config.data.batch_size * config.tbptt.window
    assert isinstance(data, ClassificationData)
    return float(data.train.lengths.sum()) * steps / -(-len(data.train) // 32)


def _default(config: AnyConfig, target: float, console: Console) -> Until:
    """Train by the default recipe, with `VALIDATIONS` per epoch, until it is as good as `target` or ends."""
    until = Until(target, console)
    trainer = dataclasses.replace(config.trainer, val_check_interval=1 / VALIDATIONS)
    fit(dataclasses.replace(config, trainer=trainer), load_data(config), until)
    return until
