"""A run that comes to NaN or infinity: it ends within that step, says where, and keeps what was good."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.tasks.conftest import novel_config
from tests.training.conftest import small_config
from unroll import checkpoint
from unroll.errors import Diverged
from unroll.models.classifier import TextClassifier
from unroll.tasks.finite import Outputs, not_finite_gradients
from unroll.tasks.module import TaskModule
from unroll.tasks.spec import TASKS
from unroll.training.start import train

AT = 7  # the batch that is spoilt; the small runs have more


@pytest.fixture
def novel(tmp_path: Path) -> Any:
    path = tmp_path / "text.txt"
    path.write_text("the sea and the island " * 60)
    config = novel_config(path, trainer__gradient_clip_val=1.0, checkpoint__every_n_steps=3)
    config.run_dir = str(tmp_path / "run")
    return config


@pytest.fixture
def imdb(reviews: Path, tmp_path: Path) -> Any:
    config = small_config(reviews, tmp_path / "run", checkpoint={"every_n_steps": 3})
    config.trainer.gradient_clip_val = None
    return config


def spoil(monkeypatch: pytest.MonkeyPatch, change: Callable[[TaskModule, dict[str, Any]], None]) -> None:
    """Have `change` strike the batch AT of every task, after its forward pass."""
    for kind in ("classification", "language_modeling"):
        task = TASKS[kind].load("module")
        step = task.training_step

        def spoilt(self: TaskModule, batch: Any, batch_idx: int, step: Any = step) -> Any:
            outputs = step(self, batch, batch_idx)
            if self.trainer.fit_loop.epoch_loop.total_batch_idx == AT - 1:
                change(self, outputs)
            return outputs

        monkeypatch.setattr(task, "training_step", spoilt)


def diverge(config: Any) -> str:
    with pytest.raises(Diverged) as caught:
        train(config)
    folder = Path(config.run_dir)
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["status"] == "failed"
    assert summary["train"]["steps"] == AT - 1  # the optimiser has not seen it
    assert summary["checkpoints"] == {"best": None, "last": str(folder / "checkpoints" / "last.ckpt")}
    kept = checkpoint.load(folder / "checkpoints" / "last.ckpt")
    assert kept["global_step"] == 6
    assert all(value.isfinite().all() for value in kept["state_dict"].values())
    assert "Diverged" in (folder / "error.log").read_text()
    message = str(caught.value)
    assert "\n" not in message
    assert "last.ckpt was saved before" in message
    return message


@pytest.mark.parametrize("task", ["imdb", "novel"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite(
    task: str, value: float, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, lambda module, outputs: outputs.__setitem__("loss", outputs["loss"] * value))
    config = request.getfixturevalue(task)
    message = diverge(config)
    assert f"step {AT} (epoch 1, batch {AT}): the loss is {value}" in message
    assert ("trainer.gradient_clip_val=1.0" in message) == (task == "imdb")  # where it is not clipped already


@pytest.mark.parametrize("task", ["imdb", "novel"])
def test_a_gradient_that_is_not_finite(
    task: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def change(module: TaskModule, outputs: dict[str, Any]) -> None:
        weight = module.model.get_parameter("encoder.weight_hh_l0")
        weight.register_hook(lambda gradient: gradient / 0)

    spoil(monkeypatch, change)
    message = diverge(request.getfixturevalue(task))
    assert f"step {AT} (epoch 1, batch {AT}): the gradient's norm is" in message
    assert "because of encoder.weight_hh_l0;" in message


def test_an_encoder_that_explodes_is_named(novel: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ReLU's state that doubles each step leaves float32 after 128 steps; torch's own arithmetic does the rest."""
    novel.encoder.cell, novel.tbptt.window, novel.checkpoint.every_n_steps = "rnn_relu", 160, None
    from unroll.tasks.language_modeling import LanguageModeling

    class Doubling(LanguageModeling):
        def on_train_start(self) -> None:
            weights = dict(self.model.encoder.named_parameters())
            nn.init.eye_(weights["weight_hh_l0"]).data.mul_(2)
            nn.init.ones_(weights["bias_hh_l0"])

    monkeypatch.setattr("unroll.tasks.language_modeling.LanguageModeling", Doubling)
    with pytest.raises(Diverged) as caught:
        train(novel)
    assert "step 1 (epoch 1, batch 1): the loss is nan, first in encoder;" in str(caught.value)
    assert "no checkpoint was saved before" in str(caught.value)


def test_a_weight_that_is_not_finite_is_not_saved(novel: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a step of a learning rate beyond all bounds: checkpoints stay those from before."""
    save = TaskModule.on_train_batch_start

    def spoil_weight(self: TaskModule, batch: Any, batch_idx: int) -> Any:
        if batch_idx == 5:
            hook = self.trainer.optimizers[0].register_step_post_hook
            hook(lambda *_: self.model.get_parameter("bias").data.fill_(math.nan))
        return save(self, batch, batch_idx)

    monkeypatch.setattr(TaskModule, "on_train_batch_start", spoil_weight)
    with pytest.raises(Diverged, match="a weight is not finite after step 6"):
        train(novel)
    assert checkpoint.load(Path(novel.run_dir) / "checkpoints" / "last.ckpt")["global_step"] == 3


def test_modules_are_noted_in_training_alone_and_in_their_order() -> None:
    class Broken(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.third = nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.third(self.second(self.first(x)))

    model = Broken()
    outputs = Outputs(model)
    model(torch.ones(1, 2))
    assert outputs.first_not_finite() is None
    nn.init.constant_(model.second.weight, math.inf)
    model.eval()(torch.ones(1, 2))
    assert outputs.first_not_finite() is None
    model.train()(torch.ones(1, 2))
    assert outputs.first_not_finite() == "second"
    outputs.forget()
    assert outputs.first_not_finite() is None


def test_a_norm_beyond_float32_is_laid_to_the_largest_gradient() -> None:
    parameters = {"small": nn.Parameter(torch.ones(2)), "large": nn.Parameter(torch.ones(2))}
    parameters["small"].grad, parameters["large"].grad = torch.ones(2), torch.full((2,), 1e30)
    assert not_finite_gradients(parameters.items()) == "large"
    parameters["small"].grad[0] = math.nan
    assert not_finite_gradients(parameters.items()) == "small"


def test_a_validation_that_is_not_finite_is_never_the_best(novel: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures without bounds are no JSON numbers; the summary has null for them."""
    from unroll.tasks.metrics import StreamMetrics

    compute = StreamMetrics.compute
    monkeypatch.setattr(StreamMetrics, "compute", lambda self: compute(self) | {"bpc": math.nan})
    summary = train(novel)
    assert summary["checkpoints"]["best"] is None
    assert summary["metrics"]["test/bpc"] is None
    json.loads((Path(novel.run_dir) / "summary.json").read_text(), parse_constant=lambda name: pytest.fail(name))


def test_the_classifier_names_its_parts(reviews: Path) -> None:
    config = small_config(reviews, reviews / "unused")
    from unroll.models.classifier import build_classifier

    model: TextClassifier = build_classifier(config, 10, 2)  # type: ignore[arg-type]
    outputs = Outputs(model)
    nn.init.constant_(model.head[0].weight, math.inf)
    model(torch.ones(2, 3, dtype=torch.long), torch.tensor([3, 2]))
    assert outputs.first_not_finite() == "head.0"
