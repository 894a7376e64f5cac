"""Schedules against values computed by hand, and which weights decay."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from unroll.config import OptimizerConfig
from unroll.tasks.optimization import build_optimizer, build_schedule, learning_rate_share


@pytest.mark.parametrize(
    ("schedule", "step", "share"),
    [
        ("constant", 0, 1 / 3),  # of 10 steps, 2 rise: 1/3, 2/3, then 1
        ("constant", 1, 2 / 3),
        ("constant", 2, 1.0),
        ("constant", 9, 1.0),
        ("cosine", 0, 1 / 3),
        ("cosine", 2, 1.0),
        ("cosine", 6, 0.5),  # half way down of 8 steps
        ("cosine", 10, 0.0),
        ("cosine", 11, 0.0),
        ("one_cycle", 0, 1 / 25),
        ("one_cycle", 1, (1 / 25 + 1) / 2),
        ("one_cycle", 2, 1.0),
        ("one_cycle", 6, (1 + 1e-4) / 2),
        ("one_cycle", 10, 1e-4),
    ],
)
def test_a_schedule_passes_through_its_points(schedule: str, step: int, share: float) -> None:
    config = OptimizerConfig(schedule=schedule, warmup_fraction=0.2)
    assert learning_rate_share(step, 10, config) == pytest.approx(share, abs=1e-12)


@pytest.mark.parametrize("schedule", ["constant", "cosine", "one_cycle"])
@pytest.mark.parametrize("total", [1, 2, 7])
def test_a_schedule_never_leaves_its_range(schedule: str, total: int) -> None:
    for warmup in (0.0, 0.5, 0.9):
        config = OptimizerConfig(schedule=schedule, warmup_fraction=warmup)
        assert all(0 <= learning_rate_share(step, total, config) <= 1 for step in range(total + 3))


def test_the_optimiser_follows_the_schedule() -> None:
    model = nn.Linear(2, 2)
    config = OptimizerConfig(learning_rate=0.5, schedule="cosine", warmup_fraction=0.0)
    optimizer = build_optimizer(model, config)
    schedule = build_schedule(optimizer, 4, config)
    rates = []
    for _ in range(4):
        rates.append(optimizer.param_groups[0]["lr"])
        model(torch.ones(1, 2)).sum().backward()
        optimizer.step()
        schedule.step()
    # 0.5 x (1 + cos(pi x step / 4)) / 2
    assert rates == pytest.approx([0.5, 0.42677669529663687, 0.25, 0.07322330470336313])


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_weights_decay_and_biases_do_not(name: str) -> None:
    model = nn.Linear(3, 2)
    nn.init.ones_(model.bias)
    before = model.weight.detach().clone()
    optimizer = build_optimizer(model, OptimizerConfig(name=name, learning_rate=0.1, weight_decay=0.5))
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    assert torch.all(model.bias == 1)
    assert torch.allclose(model.weight, before * (1 - 0.1 * 0.5) if name == "adamw" else before * 0.905, atol=1e-6)
