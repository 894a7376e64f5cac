"""Averages of the weights, for evaluation and for `best.ckpt`."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor

from unroll.config import OptimizerConfig
from unroll.progress import say


def weight_averages(config: OptimizerConfig, monitor: str, mode: str) -> list[_Average]:
    """Return the callback that the settings ask for, if any; `monitor` and `mode` as in `TriggeredAverage`."""
    if config.ema_decay is not None:
        return [WeightAverage(config.ema_decay)]
    if config.average_after is not None:
        return [TriggeredAverage(config.average_after, monitor, mode)]
    return []


class _Average(WeightAveraging, ABC):
    """Lightning's average of the weights, in the precision of the weights, updated after each optimiser step."""

    def __init__(self) -> None:
        super().__init__(avg_fn=self.average)

    @abstractmethod
    def average(self, before: Tensor, weight: Tensor, averaged: Tensor | int) -> Tensor:
        """Return the average after a step.

        Args:
            before: the average before it. The first is the weight itself.
            weight: after the step.
            averaged: optimiser steps before this one.
        """


class WeightAverage(_Average):
    """An exponential moving average with warm-up: a <- d a + (1 - d) w with d = min(decay, (1 + t) / (10 + t)), where t
    is the number of steps averaged so far. So the first weights, which are soon far off, are soon forgotten."""

    def __init__(self, decay: float) -> None:
        super().__init__()
        self.decay = decay

    def average(self, before: Tensor, weight: Tensor, averaged: Tensor | int) -> Tensor:
        t = float(averaged)
        decay = min(self.decay, (1 + t) / (10 + t))
        return decay * before + (1 - decay) * weight


class TriggeredAverage(_Average):
    """NT-AvSGD (Merity et al. 2017, arXiv:1708.02182, algorithm 1): a plain average of the weights, which begins when
    validation stagnates. Until then the "average" is the weights themselves.

    It begins at the first validation whose figure is worse than the best of all validations but the last `after`. The
    first version of the paper compares with those last ones instead; the authors call that a misprint
    (github.com/salesforce/awd-lstm-lm, issue 13).
    """

    def __init__(self, after: int, monitor: str, mode: str) -> None:
        """Wait for stagnation.

        Args:
            after: validations whose figures are left out of the comparison, `n` in the paper.
            monitor: the name of the figure.
            mode: "max" or "min", which is better.
        """
        super().__init__()
        self.after, self.monitor, self.mode = after, monitor, mode
        self.figures: dict[int, float] = {}  # by number of the validation; less is better
        self.first = 0  # the step at which averaging began, `T` in the paper; 0: it has not

    def average(self, before: Tensor, weight: Tensor, averaged: Tensor | int) -> Tensor:
        if not self.first:
            return weight
        return before + (weight - before) / (float(averaged) - self.first + 2)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.first or trainer.sanity_checking or trainer.state.fn != "fit":
            return
        figure = float(trainer.callback_metrics.get(self.monitor, math.nan))
        figure = math.inf if math.isnan(figure) else figure if self.mode == "min" else -figure
        if figure > min(list(self.figures.values())[: -self.after], default=math.inf):
            self.first = trainer.global_step
            say(f"{self.monitor} stagnates: the weights are averaged from step {self.first} on")
        self.figures[len(self.figures)] = figure

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"figures": self.figures, "first": self.first}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.figures, self.first = state_dict["figures"], state_dict["first"]
