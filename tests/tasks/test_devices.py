"""Nothing is left on the CPU where a run is on an accelerator: runs on a stand-in that refuses to mix with the CPU.

It has no sparse tensors, so `optimizer.embedding=rows` is not among them; nor are mixed precision, and texts that a
`MinGRU` generates: its tensors and torch's inference mode do not go together there.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from tests.tasks.elsewhere import DEVICE, elsewhere
from tests.training.resuming import assert_same_run, cut_off, go_on, imdb, novel
from unroll import checkpoint, load
from unroll.diagnostics.explain import judge_text, surprise
from unroll.progress import display
from unroll.training.callbacks import samples
from unroll.training.start import train

SHORT: dict[str, Any] = {"precision": "32-true", "max_epochs": 1, "max_steps": 2, "log_every_n_steps": 1}
SHORT |= {"limit_val_batches": 1, "limit_test_batches": 1}

# Each step of a recurrent net is many operations here, and each takes long.
BRIEF = {"batch_size": 8, "max_length": 8, "padding_noise": 0.9}

pytestmark = pytest.mark.filterwarnings("ignore:.*copying from a non-meta parameter.*")  # the stand-in copies


@pytest.fixture(autouse=True)
def brief_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "LENGTH", 10)


def quietly_elsewhere(config: Any, patch: pytest.MonkeyPatch) -> None:
    """Train on the stand-in; a picture or a text that fails would only be a line on the screen."""
    screen = io.StringIO()
    with elsewhere(patch), display(Console(file=screen, width=300)):
        train(config)
    assert [line for line in screen.getvalue().splitlines() if line.startswith("warning:")] == []


def test_the_stand_in_refuses_what_cuda_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    with elsewhere(monkeypatch):
        there, here = torch.rand(2, 3, device=DEVICE), torch.rand(2, 3)
        with pytest.raises(RuntimeError, match=r"aten.add.Tensor: a tensor \(2, 3\) of the CPU among tensors"):
            there + here
        with pytest.raises(RuntimeError, match=r"aten\.addmm"):
            torch.nn.Linear(3, 1)(there)
        assert (there + torch.tensor(1.0)).device == DEVICE
        assert torch.equal(there.cpu() + 1, (there + 1).cpu())
        assert there.copy_(here).cpu().equal(here)


@pytest.mark.parametrize(
    "settings",
    [
        {
            "encoder": {"cell": "min_gru"},
            "diagnostics": {"every_n_steps": 1},
            "optimizer": {"ema_decay": 0.9},
            "data": BRIEF | {"class_weights": "balanced"},
        },
        {
            "encoder": {"cell": "gru", "backend": "packed"},
            "objective": {"adversarial": 1.0, "virtual": 1.0, "entropy": 1.0},
        },
        {
            "encoder": {
                "cell": "rnn_tanh",
                "num_layers": 2,
                "dropout": 0.2,
                "locked_dropout": True,
                "weight_dropout": 0.2,
            },
            "model": {"pooling": ["last", "mean", "max"], "embedding_dropout": 0.1},
        },
        {"encoder": {"cell": "lstm", "bidirectional": False}, "tbptt": {"window": 5}},
        {"pretraining": {"epochs": 1, "sampled_words": 5}, "optimizer": {"average_after": 1}},
    ],
)
def test_reviews(reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]) -> None:
    quietly_elsewhere(imdb(reviews, tmp_path / "run", **{"trainer": SHORT, "data": BRIEF} | settings), monkeypatch)


@pytest.mark.parametrize(
    "settings",
    [
        {"tbptt__stride": 4, "model__tie_weights": True, "model__embedding_size": 6, "diagnostics__every_n_steps": 1},
        {"tbptt__random_window": True, "model__embedding_size": None, "encoder__cell": "gru"},
        {
            "tbptt__state_dropout": 0.3,
            "model__activation_penalty": 1.0,
            "model__temporal_penalty": 1.0,
            "model__embedding_dropout": 0.2,
            "encoder__weight_dropout": 0.3,
            "encoder__hidden_size": 16,
            "model__cutoffs": [3, 6],
        },
    ],
)
def test_a_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]) -> None:
    short = {f"trainer__{name}": value for name, value in SHORT.items()}
    quietly_elsewhere(novel(tmp_path, tmp_path / "run", **short | settings), monkeypatch)


@pytest.mark.parametrize("task", ["reviews", "novel"])
def test_a_run_is_resumed_and_its_model_used(
    reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str
) -> None:
    """It is the run that the CPU has, but for rounding: the padded backend splits rows over cores on a CPU alone."""

    short = SHORT | {"max_steps": 4}

    def config(name: str) -> Any:
        if task == "reviews":
            run = imdb(reviews, tmp_path / name, trainer=short, data=BRIEF)
        else:
            run = novel(tmp_path, tmp_path / name, **{f"trainer__{key}": value for key, value in short.items()})
        run.checkpoint.every_n_steps = 2
        return run

    train(config("here"))
    with elsewhere(monkeypatch):
        train(config("whole"))
        cut_off(config("resumed"), "on_train_batch_end", 4, monkeypatch)
        go_on(tmp_path / "resumed")
        assert_same_run(tmp_path / "whole", tmp_path / "resumed")
        model, other = (load(tmp_path / name / "checkpoints" / "best.ckpt") for name in ("whole", "here"))
        model.model.to(DEVICE)
        if task == "reviews":
            found, expected = (each.predict(["a good film", "bad"]) for each in (model, other))
            for one, two in zip(found, expected, strict=True):
                assert one.probabilities == pytest.approx(two.probabilities, abs=1e-4)
            one, two = (judge_text(each, "a good film") for each in (model, other))
            assert one.attribution == pytest.approx(two.attribution, abs=1e-4)
        else:
            one, two = (surprise(each, "the sea") for each in (model, other))
            assert one.bits == pytest.approx(two.bits, abs=1e-4)
            assert model.generate("the ", length=20, seed=1) == other.generate("the ", length=20, seed=1)
    weights = [checkpoint.load(tmp_path / name / "checkpoints/last.ckpt")["state_dict"] for name in ("here", "whole")]
    for name, weight in weights[0].items():
        torch.testing.assert_close(weights[1][name], weight, rtol=1e-4, atol=1e-5)
