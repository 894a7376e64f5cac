"""`resume=auto`: one command that starts a run, resumes it, and leaves it when it is complete."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.scripts import Shell
from tests.training.resuming import assert_same, assert_same_run, cut_off, imdb
from unroll import checkpoint
from unroll.config import Config, to_dict
from unroll.errors import CheckpointError, ConfigError
from unroll.tasks.spec import from_dict
from unroll.training import saved_run
from unroll.training.run_dir import claimed
from unroll.training.saved_run import settings_in
from unroll.training.start import train


@pytest.fixture(scope="module")
def whole(reviews: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was not stopped."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    train(imdb(reviews, folder))
    return folder


def automatic(reviews: Path, folder: Path, **groups: Any) -> Config:
    config: Config = dataclasses.replace(imdb(reviews, folder, **groups), resume="auto")
    return config


# Before anything is saved, and after the first save.
@pytest.mark.parametrize(("hook", "count"), [("on_train_batch_end", 2), ("on_train_batch_end", 9)])
def test_the_same_command_ends_as_a_run_that_was_not_stopped(
    reviews: Path, tmp_path: Path, whole: Path, hook: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_off(automatic(reviews, tmp_path / "run"), hook, count, monkeypatch)
    cut_off(automatic(reviews, tmp_path / "run"), "on_validation_batch_end", 1, monkeypatch)
    summary = train(automatic(reviews, tmp_path / "run"))
    assert summary["status"] == "completed"
    assert_same_run(whole, tmp_path / "run")


def test_a_best_checkpoint_alone_is_no_place_to_resume_from(
    reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"checkpoint": {"every_n_steps": None, "every_n_minutes": None}}
    cut_off(automatic(reviews, tmp_path / "run", **settings), "on_validation_end", 1, monkeypatch)
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["best.ckpt"]
    assert train(automatic(reviews, tmp_path / "run", **settings))["status"] == "completed"


def test_a_complete_run_is_left_as_it_is_and_continued_by_another_end(reviews: Path, whole: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in whole.rglob("*")}
    summary = train(automatic(reviews, whole))
    assert summary == json.loads((whole / "summary.json").read_text())
    assert {path: path.stat().st_mtime_ns for path in whole.rglob("*")} == before
    with pytest.raises(ConfigError, match="seed is 0 in"):
        train(dataclasses.replace(automatic(reviews, whole), seed=1))


def test_another_end_continues_a_complete_run(reviews: Path, tmp_path: Path) -> None:
    short = {"trainer": {"max_epochs": 1}}
    assert train(automatic(reviews, tmp_path / "run", **short))["train"]["epochs"] == 1
    assert train(automatic(reviews, tmp_path / "run", trainer={"max_epochs": 2}))["train"]["epochs"] == 2


# Killed before the longer run has saved, and after it.
@pytest.mark.parametrize(("hook", "count"), [("on_train_batch_start", 1), ("on_train_batch_end", 9)])
def test_a_longer_run_that_is_killed_is_not_complete(
    reviews: Path, tmp_path: Path, hook: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    constant = {"schedule": "constant", "learning_rate": 0.01}
    epochs = {number: {"optimizer": constant, "trainer": {"max_epochs": number}} for number in (1, 3)}
    train(imdb(reviews, tmp_path / "whole", **epochs[3]))
    train(automatic(reviews, tmp_path / "run", **epochs[1]))
    cut_off(automatic(reviews, tmp_path / "run", **epochs[3]), hook, count, monkeypatch)
    summary = train(automatic(reviews, tmp_path / "run", **epochs[3]))
    assert (summary["status"], summary["train"]["epochs"]) == ("completed", 3)
    one, other = (checkpoint.load(tmp_path / name / "checkpoints" / "last.ckpt") for name in ("whole", "run"))
    assert other["global_step"] == one["global_step"]
    assert_same(other["state_dict"], one["state_dict"])
    assert settings_in(tmp_path / "run").trainer.max_epochs == 3


def test_a_complete_run_without_its_last_checkpoint_is_left_alone(reviews: Path, tmp_path: Path, whole: Path) -> None:
    shutil.copytree(whole, tmp_path / "run")
    for name in ("last.ckpt", "previous.ckpt"):
        (tmp_path / "run" / "checkpoints" / name).unlink()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}
    assert train(automatic(reviews, tmp_path / "run"))["status"] == "completed"
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")} == before
    with pytest.raises(CheckpointError, match=r"last\.ckpt"):
        train(automatic(reviews, tmp_path / "run", trainer={"max_epochs": 9, "log_every_n_steps": 6}))


def test_a_setting_that_is_missing_now_is_another_setting(tmp_path: Path) -> None:
    own = from_dict({"encoder": {"options": {"a": 1, "b": 2}}})
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(to_dict(own)))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").write_bytes(b"")
    given = from_dict({"encoder": {"options": {"a": 1}}, "run_dir": str(tmp_path), "resume": "auto"})
    with pytest.raises(ConfigError, match=r"^encoder\.options\.b is 2 in "):
        saved_run.automatic(given)


@pytest.mark.parametrize(
    "files",
    [("notes.txt",), ("config.yaml", "notes.txt"), ("config.yaml", "checkpoints/mine.ckpt"), ("checkpoints/a",)],
)
def test_nothing_of_another_folder_is_deleted(tmp_path: Path, files: tuple[str, ...]) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("mine")
    with (
        pytest.raises(ConfigError, match="something is there already"),
        claimed(Config(run_dir=str(tmp_path)), anew=True),
    ):
        pass
    assert all((tmp_path / name).read_text() == "mine" for name in files)


def test_it_needs_a_folder_and_serves_every_job(shell: Shell, reviews: Path) -> None:
    assert "resume=auto needs run_dir=DIR" in shell("train", "task=imdb", "resume=auto").one_line()
    jobs = ["--multirun", "task=imdb", f"data.path={reviews}", "seed=0,1", "trainer.max_steps=3", "resume=auto"]
    jobs += ["encoder.hidden_size=4", "model.embedding_size=4"]
    assert "or all by run_dir=DIR resume=auto" in shell("train", *jobs).err
    assert shell("train", *jobs, "run_dir=both").code == 0
    said = shell("train", *jobs, "run_dir=both")
    assert said.code == 0
    assert said.out.count("is complete") == 2
