"""How a run is not resumed, and what its user is told."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import write_reviews
from tests.training.resuming import Killer, cut_off, end_at, go_on, imdb
from unroll import checkpoint
from unroll.errors import CheckpointError, ConfigError, UserError
from unroll.inference.evaluate import evaluate
from unroll.training.resume import find_start


@pytest.fixture
def cut(reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    cut_off(imdb(reviews, tmp_path / "cut"), "on_train_batch_end", 8, monkeypatch)
    return tmp_path / "cut"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder.hidden_size": 13}, "encoder.hidden_size is 12 in"),
        ({"optimizer.learning_rate": 0.5}, "optimizer.learning_rate is 0.03 in"),
        ({"seed": 3}, "seed is 0 in"),
    ],
)
def test_settings_that_would_change_the_result_are_refused(cut: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        go_on(cut, **changes)


def test_settings_that_change_nothing_may_be_given(cut: Path) -> None:
    go_on(cut, **{"checkpoint.every_n_steps": 2, "data.workers": 1, "encoder.hidden_size": 12})


def test_what_a_task_says_of_its_data_may_be_any_plain_value(cut: Path) -> None:
    path = cut / "checkpoints" / "last.ckpt"
    content = checkpoint.load(path)
    about = {"mean": 0.5, "is_scaled": True, "units": {"m": 1}}
    checkpoint.save(content | about, path)
    found = find_start(cut, {}).about
    assert {name: found[name] for name in about} == about
    assert not any(isinstance(value, torch.Tensor) for value in found.values())


def test_another_corpus_is_named_by_its_fingerprint(cut: Path, tmp_path: Path) -> None:
    write_reviews(tmp_path / "other.csv", 400, seed=5)
    with pytest.raises(CheckpointError, match="fingerprint"):
        go_on(cut, **{"data.path": str(tmp_path / "other.csv")})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.update(random=[]), "'random' is missing or no dict"),
        (lambda content: content["random"].update(cpu=torch.ones(3)), "'random' is not the state"),
        (
            lambda content: content.update(format=2),
            "has format 2, and this version resumes 3; .* with init_from=",
        ),
        (lambda content: content["versions"].update(unroll="1.0"), "saved by unroll 1.0, and this is 0."),
        (lambda content: content["vocabulary"].append(content["vocabulary"].pop(2)), "another vocabulary"),
    ],
)
def test_what_can_not_be_resumed_is_named(cut: Path, change: Callable[[Any], None], message: str) -> None:
    (cut / "checkpoints/previous.ckpt").unlink(missing_ok=True)
    path = cut / "checkpoints/last.ckpt"
    content = copy.deepcopy(checkpoint.load(path))
    change(content)
    checkpoint.save(content, path)
    with pytest.raises(CheckpointError, match=message):
        go_on(cut)


def test_a_lost_tensorboard_folder_ends_the_run_in_one_line(
    reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Remover(Killer):
        def call(self, *args: Any, **kwargs: Any) -> None:
            self.left -= 1
            if self.left == 0:
                shutil.rmtree(tmp_path / "cut" / "tensorboard")

    error = end_at(imdb(reviews, tmp_path / "cut"), Remover("on_train_batch_end", 8), monkeypatch, UserError)
    assert "tensorboard: the folder is gone" in str(error)
    assert "\n" not in str(error)
    assert checkpoint.load(tmp_path / "cut/checkpoints/last.ckpt")["global_step"] == 5
    go_on(tmp_path / "cut")


def test_a_strangers_checkpoint_does_not_choose_where_data_lands(cut: Path, tmp_path: Path) -> None:
    path = cut / "checkpoints/last.ckpt"
    content = checkpoint.load(path)
    content["config"]["data"]["folder"] = str(tmp_path / "elsewhere")
    checkpoint.save(content, path)
    with pytest.raises(ConfigError, match="outside of the current folder"):
        go_on(cut)
    with pytest.raises(ConfigError, match="outside of the current folder"):
        evaluate(path, None, "val")
    assert not (tmp_path / "elsewhere").exists()
    go_on(cut, **{"data.folder": str(tmp_path / "data")})


def test_a_complete_run_is_left_alone(cut: Path) -> None:
    go_on(cut)
    with pytest.raises(ConfigError, match="is complete"):
        go_on(cut)


def test_a_folder_without_a_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        go_on(tmp_path)
