"""Averages of the weights against their equations, over weights and validation figures that are given."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader

from unroll.config import OptimizerConfig
from unroll.training.callbacks.weight_averaging import TriggeredAverage, WeightAverage, weight_averages

STEPS = 24
WEIGHTS = torch.randn(STEPS + 1, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)  # at each step


class Walk(LightningModule):
    """Its weights go from each of `WEIGHTS` to the next. Its k-th validation has the k-th of `figures`."""

    def __init__(self, figures: list[float]) -> None:
        super().__init__()
        self.weight, self.figures = nn.Parameter(WEIGHTS[0].clone()), iter(figures)
        self.evaluated: list[Tensor] = []  # the weights at each validation

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        step = WEIGHTS[self.global_step + 1] - WEIGHTS[self.global_step]
        return -(self.weight * step).sum()

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.evaluated.append(self.weight.detach().clone())
        self.log("val/figure", next(self.figures), on_step=False, on_epoch=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1.0)


def walk(average: Callback, figures: list[float], every: int = 2, **settings: Any) -> tuple[Walk, Any]:
    """Take `STEPS` steps with a validation after `every` of them; return the model and the checkpoint's content."""
    loader, model = DataLoader(torch.zeros(STEPS, 1), batch_size=1), Walk(figures)
    trainer = Trainer(
        **{"max_epochs": 1, "val_check_interval": every, "limit_val_batches": 1, "num_sanity_val_steps": 0} | settings,
        accelerator="cpu",
        precision="64-true",
        logger=False,
        callbacks=[average],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, loader, loader)
    return model, average


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("decay", [0.05, 0.5, 0.999])
def test_the_moving_average_warms_up(decay: float) -> None:
    expected, average = [], WEIGHTS[1]
    for t in range(1, STEPS + 1):  # t weights are averaged
        if t > 1:
            d = min(decay, (1 + t - 1) / (10 + t - 1))
            average = d * average + (1 - d) * WEIGHTS[t]
        expected.append(average)
    model, _ = walk(WeightAverage(decay), [0.0] * STEPS, every=1)
    for found, value in zip(model.evaluated, expected, strict=True):
        close(found, value)
    close(model.weight.detach(), expected[-1])


def algorithm_1(figures: list[float], n: int, every: int) -> int | None:
    """The step T at which averaging begins: v > min of logs[l] over l in 0 … t - n - 1, if t > n."""
    logs: list[float] = []
    for t, v in enumerate(figures):
        if t > n and v > min(logs[: t - n]):
            return (t + 1) * every
        logs.append(v)
    return None


NAN = float("nan")
CURVES = [
    [5.0, 4.0, 3.0, 2.0, 2.1, 1.0, 1.01, 0.99, 1.03, 1.02, 1.01, 1.0],
    [5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0, 13.0, 14.0, 15.0, 16.0],
    [5.0, 4.0, 3.0, 2.0, 1.0, 0.0, -1.0, -2.0, -3.0, -4.0, -5.0, -6.0],
    [3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.1],
]


@pytest.mark.parametrize(
    ("curve", "n", "mode"),
    [*((curve, n, "min") for curve in CURVES[:2] for n in (1, 2, 4)), *((curve, 2, "max") for curve in CURVES)],
)
def test_the_plain_average_begins_where_validation_stagnates(curve: list[float], n: int, mode: str) -> None:
    begin = algorithm_1(curve, n, every=2)
    average = TriggeredAverage(n, "val/figure", mode)
    model, _ = walk(average, curve if mode == "min" else [-figure for figure in curve])
    assert average.first == (begin or 0)
    for place, found in enumerate(model.evaluated, start=1):
        now = 2 * place
        # The validation at T itself sees the weights as they are.
        close(found, WEIGHTS[now] if begin is None or now <= begin else WEIGHTS[begin : now + 1].mean(0))
    close(model.weight.detach(), WEIGHTS[STEPS] if begin is None else WEIGHTS[begin:].mean(0))


def test_the_curves_tell_the_intervals_apart() -> None:
    assert [algorithm_1(CURVES[0], n, 1) for n in (1, 2, 4)] == [9, 9, 11]
    assert [algorithm_1(CURVES[1], n, 1) for n in (1, 2, 4)] == [3, 4, 6]


def test_a_figure_that_is_no_number_is_worse_than_any_other() -> None:
    average = TriggeredAverage(1, "val/figure", "max")
    walk(average, [NAN, NAN, 1.0, 2.0, NAN, *[3.0] * 7])
    assert average.first == 10


def test_the_check_before_training_is_no_validation() -> None:
    average = TriggeredAverage(1, "val/figure", "min")
    walk(average, [0.0, *CURVES[2]], num_sanity_val_steps=1)
    assert average.first == 0
    assert list(average.figures.values()) == CURVES[2]


def test_settings_choose_the_average() -> None:
    assert weight_averages(OptimizerConfig(), "val/figure", "min") == []
    (moving,) = weight_averages(OptimizerConfig(ema_decay=0.9), "val/figure", "min")
    (triggered,) = weight_averages(OptimizerConfig(average_after=3), "val/figure", "max")
    assert isinstance(moving, WeightAverage)
    assert moving.decay == 0.9
    assert isinstance(triggered, TriggeredAverage)
    assert (triggered.after, triggered.monitor, triggered.mode) == (3, "val/figure", "max")
