"""What a run shows of its recurrence: each figure against the weights that the run began and ended with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import seed_everything

from tests.tasks.conftest import novel_config
from tests.training.boards import events
from tests.training.conftest import small_config
from unroll import checkpoint
from unroll.batching.streams import stretches
from unroll.diagnostics.gradient_flow import Flow, gradient_flow
from unroll.inference.generate import LoadedLanguageModel
from unroll.inference.load import load
from unroll.tasks.spec import load_data
from unroll.training.callbacks import recurrence
from unroll.training.loggers import loggers_of
from unroll.training.run import Run, build_module, quiet
from unroll.training.start import train


@pytest.fixture
def novel(tmp_path: Path) -> Any:
    path = tmp_path / "text.txt"
    path.write_text("the sea and the island " * 120)
    config = novel_config(path, trainer__max_steps=1, diagnostics__every_n_steps=1, trainer__gradient_clip_val=1.0)
    config.run_dir = str(tmp_path / "run")
    return config


def scalars(folder: str | Path, group: str) -> dict[str, list[float]]:
    board = events(Path(folder))
    tags = [tag for tag in board.Tags()["scalars"] if tag.startswith(f"{group}/")]
    return {tag.partition("/")[2]: [point.value for point in board.Scalars(tag)] for tag in tags}


def test_update_ratios_are_those_of_the_weights_before_and_after(novel: Any) -> None:
    train(novel)
    seed_everything(novel.seed, verbose=False)
    start = build_module(novel, load_data(novel)).model.state_dict()
    end = checkpoint.load(Path(novel.run_dir) / "checkpoints" / "last.ckpt")["state_dict"]
    expected: dict[str, list[float]] = {}
    for module in ("weight", "bias", "embedding", "encoder"):
        names = [name for name in start if name.split(".")[0] == module]
        old, new = (torch.cat([part[name].flatten() for name in names]) for part in (start, _plain(end)))
        expected[module] = [pytest.approx(float((new - old).norm() / old.norm()) if old.norm() else 0.0, rel=1e-4)]
    assert scalars(novel.run_dir, "update_ratio") == expected


def _plain(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.removeprefix("model."): weight for name, weight in weights.items()}


def test_the_state_shown_is_the_one_that_is_carried(novel: Any, tmp_path: Path) -> None:
    data = load_data(novel)
    quiet()
    run = Run(novel, data, tmp_path / "run")
    run.trainer.loggers = loggers_of(novel, tmp_path / "run", None)
    run.trainer.fit(run.module, data)
    run.trainer.logger.finalize("success")
    hidden, cell = (part.detach() for part in run.module.states["train"])
    norms = scalars(tmp_path / "run", "state_norm")
    assert norms == {
        "hidden_l0": [pytest.approx(sum(float(row.norm()) for row in hidden[0]) / 3)],
        "cell_l0": [pytest.approx(sum(float(row.norm()) for row in cell[0]) / 3)],
    }


@pytest.mark.pictures
@pytest.mark.parametrize("ema_decay", [None, 0.9])
def test_the_picture_is_of_the_weights_that_are_kept_and_of_validation_text(
    novel: Any, ema_decay: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    novel.trainer.max_steps, novel.optimizer.ema_decay = -1, ema_decay
    drawn: list[dict[str, Flow]] = []
    draw = recurrence.draw
    monkeypatch.setattr(recurrence, "draw", lambda flows: drawn.append(flows) or draw(flows))
    train(novel)
    assert "recurrence/gradient_by_lag" in events(Path(novel.run_dir)).Tags()["images"]
    model = load(Path(novel.run_dir) / "checkpoints" / "best.ckpt")
    assert isinstance(model, LoadedLanguageModel)
    x, loss = model.model.look_back(stretches(load_data(novel).val.ids, 101, 16))
    expected = gradient_flow(model.model.encoder, x, loss)
    (flow,) = drawn[0].values()
    torch.testing.assert_close(flow.inputs, expected.inputs)
    torch.testing.assert_close(flow.hidden, expected.hidden)


@pytest.mark.parametrize("cell", ["rnn_tanh", "gru", "lstm"])
def test_each_gate_of_each_layer_has_a_curve(reviews: Path, tmp_path: Path, cell: str) -> None:
    config = small_config(
        reviews,
        tmp_path / "run",
        encoder={"cell": cell, "num_layers": 2},
        diagnostics={"every_n_steps": 2},
        trainer={"max_epochs": 1},
    )
    steps = train(config)["train"]["steps"]
    gates = {"gru": ["reset_gate", "update_gate"], "lstm": ["input_gate", "forget_gate", "output_gate"]}.get(cell, [])
    layers = ("l0", "l0_reverse", "l1", "l1_reverse")
    shares = scalars(tmp_path / "run", "saturated")
    assert set(shares) == {f"{gate}_{place}" for gate in gates for place in layers}
    assert all(len(curve) == steps // 2 for curve in shares.values())
    parts = ("hidden", "cell") if cell == "lstm" else ("hidden",)
    norms = scalars(tmp_path / "run", "state_norm")
    assert set(norms) == {f"{part}_{place}" for part in parts for place in layers}
    assert set(scalars(tmp_path / "run", "update_ratio")) == {"embedding", "encoder", "head"}


@pytest.mark.pictures
def test_a_run_that_is_watched_ends_with_the_same_weights(novel: Any, tmp_path: Path) -> None:
    novel.trainer.max_steps = -1
    train(novel)
    watched = checkpoint.load(Path(novel.run_dir) / "checkpoints" / "last.ckpt")["state_dict"]
    novel.diagnostics.every_n_steps, novel.run_dir = None, str(tmp_path / "unwatched")
    train(novel)
    assert not scalars(novel.run_dir, "state_norm")
    unwatched = checkpoint.load(Path(novel.run_dir) / "checkpoints" / "last.ckpt")["state_dict"]
    for name, weight in unwatched.items():
        assert torch.equal(weight, watched[name]), name
