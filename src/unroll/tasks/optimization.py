"""Optimisers and learning-rate schedules by name."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from unroll.config import OptimizerConfig
from unroll.tasks.row_adam import RowAdam

_OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "adamw": torch.optim.AdamW,
    "adam": torch.optim.Adam,
    "sgd": partial(torch.optim.SGD, momentum=0.9, nesterov=True),
}

# Where a one-cycle schedule starts and ends, as shares of its peak (Smith & Topin 2018, arXiv:1708.07120).
_ONE_CYCLE_START, _ONE_CYCLE_END = 1 / 25, 1e-4


def build_optimizer(model: nn.Module, config: OptimizerConfig) -> Optimizer:
    """Return the optimiser, fused into one kernel, with weight decay on weight matrices but not on biases."""
    groups: list[dict[str, Any]] = [
        {"params": [p for p in model.parameters() if p.dim() > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in model.parameters() if p.dim() <= 1], "weight_decay": 0.0},
    ]
    if config.embedding == "rows":
        return RowAdam(groups, lr=config.learning_rate, fused=True, decoupled_weight_decay=True)
    return _OPTIMIZERS[config.name](groups, lr=config.learning_rate, fused=True)


def learning_rate_share(step: int, total: int, config: OptimizerConfig) -> float:
    """Return the learning rate at `step`, from 0 to `total` - 1, as a share of the highest.

    All schedules rise for `config.warmup_fraction` of the steps: `one_cycle` along a cosine, the others in a straight
    line. Then `one_cycle` falls along a cosine to 0.0001, `cosine` falls to 0, and `constant` stays. Steps beyond
    `total` keep the last value.
    """
    rising = round(config.warmup_fraction * total)
    if step < rising:
        if config.schedule == "one_cycle":
            return _between(_ONE_CYCLE_START, 1, step / rising)
        return (step + 1) / (rising + 1)
    if config.schedule == "constant":
        return 1.0
    fallen = min(1.0, (step - rising) / max(1, total - rising))
    return _between(1, _ONE_CYCLE_END if config.schedule == "one_cycle" else 0, fallen)


def _between(start: float, end: float, share: float) -> float:
    """Return the value at `share` of half a cosine wave from `start` to `end`."""
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


def build_schedule(optimizer: Optimizer, total: int, config: OptimizerConfig) -> torch.optim.lr_scheduler.LambdaLR:
    """Return the schedule over `total` optimiser steps; step it after each of them."""
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: learning_rate_share(step, total, config))
