"""Several processes train as one does: the same batches, the same weights, the same figures, one run to resume."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.training.boards import events
from tests.training.conftest import small_config
from tests.training.resuming import Killed, Killer, assert_same_run, imdb, novel
from tests.training.together import Together, together
from unroll import checkpoint, ranks
from unroll.config import Config
from unroll.errors import UserError
from unroll.training.place import Place, joined
from unroll.training.run import Run, run_in


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Together]:
    with together(tmp_path_factory.mktemp("processes")) as pool:
        yield pool


def jobs(address: str, config: Config) -> list[int]:
    """Meet at one address again and again, as jobs under torchrun do; every other job fails on rank 1."""
    rank, found = ranks.rank(), []
    ranks.end()

    def fail() -> None:
        if rank == 1:
            raise UserError("a job that fails") if number == 1 else OSError(errno.ENOSPC, "no space is left")

    for number in range(6):
        with suppress(UserError, OSError), joined(Place(rank, 3, rank, 3, address), config):
            found.append(sum(ranks.gathered(10 * number + rank)))
            if number % 2:
                ranks.together(fail)
    return found


def test_jobs_meet_after_others_that_failed(processes: Together, tmp_path: Path, reviews: Path) -> None:
    config = small_config(reviews, tmp_path)
    found = processes.call(3, jobs, f"file://{tmp_path}/meeting", config)
    assert found == [[3 + 30 * number for number in range(6)]] * 3


def weights(folder: Path, name: str = "last") -> dict[str, Any]:
    return checkpoint.load(folder / "checkpoints" / f"{name}.ckpt")["state_dict"]


def farthest(one: Path, other: Path) -> float:
    """The largest difference of a weight between two runs, relative to the largest weight."""
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    return max(float((first[name] - second[name]).abs().max() / first[name].abs().max()) for name in first)


def summary(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "summary.json").read_text())


def assert_same_figures(one: Path, other: Path, tolerance: float) -> None:
    """The same steps, tokens and metrics; the same curves."""
    first, second = summary(one), summary(other)
    for name in ("steps", "epochs", "tokens"):
        assert first["train"][name] == second["train"][name]
    assert first["metrics"].keys() == second["metrics"].keys()
    for name, value in first["metrics"].items():
        assert second["metrics"][name] == pytest.approx(value, rel=tolerance, abs=tolerance), name
    boards = [events(folder) for folder in (one, other)]
    tags = [sorted(board.Tags()["scalars"]) for board in boards]
    assert tags[0] == tags[1]
    for tag in tags[0]:
        if tag not in ("train/tokens_per_second", "train/padding"):  # each part is as long as its longest document
            points = [{point.step: point.value for point in board.Scalars(tag)} for board in boards]
            assert points[1] == pytest.approx(points[0], rel=1e-5, abs=1e-6), tag  # TensorBoard keeps float32


def test_reviews_train_as_in_one_process(processes: Together, reviews: Path, tmp_path: Path) -> None:
    settings: dict[str, dict[str, Any]] = {
        "model": {"dropout": 0.0, "word_dropout": 0.0},
        "data": {"batch_size": None, "max_tokens": 60, "class_weights": "balanced"},  # of 3 to 20: some ranks have none
        "optimizer": {"ema_decay": 0.9, "embedding": "rows"},
        "trainer": {"precision": "64-true", "accumulate_grad_batches": 2, "max_steps": 30, "val_check_interval": 20},
    }
    for size in (1, 3):
        processes.train(size, imdb(reviews, tmp_path / str(size), **settings), tmp_path / str(size))
    assert farthest(tmp_path / "1", tmp_path / "3") < 1e-12
    assert_same_figures(tmp_path / "1", tmp_path / "3", 1e-9)


def test_adversarial_training_is_that_of_one_process(processes: Together, reviews: Path, tmp_path: Path) -> None:
    """The change's size is that of all embeddings of a batch, whose gradient is that of all losses."""
    settings: dict[str, dict[str, Any]] = {
        "model": {"dropout": 0.0, "word_dropout": 0.0},
        "data": {"batch_size": None, "max_tokens": 60},
        "objective": {"adversarial": 1.0, "epsilon": 3.0},
        "trainer": {"precision": "64-true", "max_steps": 10, "max_epochs": None},
    }
    for size in (1, 3):
        processes.train(size, imdb(reviews, tmp_path / str(size), **settings), tmp_path / str(size))
    assert farthest(tmp_path / "1", tmp_path / "3") < 1e-12


def test_a_text_trains_as_in_one_process(processes: Together, tmp_path: Path) -> None:
    settings = {
        "model__input_dropout": 0.0,
        "data__batch_size": 5,
        "tbptt__stride": 4,
        "trainer__precision": "64-true",
        "optimizer__average_after": 1,
        "model__temporal_penalty": 0.1,
    }
    for size in (1, 2):
        processes.train(size, novel(tmp_path, tmp_path / str(size), **settings), tmp_path / str(size))
    assert farthest(tmp_path / "1", tmp_path / "2") < 1e-12
    assert_same_figures(tmp_path / "1", tmp_path / "2", 1e-9)


# Resuming.


@pytest.mark.parametrize(("size", "precision"), [(1, "64-true"), (2, "32-true"), (3, "64-true")])
def test_a_run_is_resumed_to_the_last_bit(processes: Together, tmp_path: Path, size: int, precision: str) -> None:
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    settings = {"data__batch_size": 5, "encoder__weight_dropout": 0.2, "tbptt__state_dropout": 0.1}
    settings["trainer__precision"] = precision
    processes.train(size, novel(tmp_path, whole, **settings), whole)
    processes.call(size, cut_off_in_place, novel(tmp_path, resumed, **settings), resumed)
    processes.train(size, Config(resume=str(resumed)), resumed)
    assert_same_run(whole, resumed)


def cut_off_in_place(config: Any, folder: Path) -> None:
    """Train as one of several processes until a step in the second epoch, and end without saving."""
    folder.mkdir(exist_ok=True)
    config.trainer.devices = ranks.world_size()
    callbacks = Run._callbacks
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "_callbacks", lambda self: [*callbacks(self), Killer("on_train_batch_end", 28)])
        with pytest.raises(Killed):
            run_in(folder, config, {})


def test_a_run_is_resumed_by_another_number_of_processes(processes: Together, tmp_path: Path) -> None:
    settings = {"model__input_dropout": 0.0, "data__batch_size": 5, "trainer__precision": "64-true"}
    whole = tmp_path / "whole"
    processes.train(1, novel(tmp_path, whole, **settings), whole)
    for sizes in ((2, 3), (3, 1)):
        resumed = tmp_path / f"{sizes}"
        processes.call(sizes[0], cut_off_in_place, novel(tmp_path, resumed, **settings), resumed)
        processes.train(sizes[1], Config(resume=str(resumed)), resumed)
        assert farthest(whole, resumed) < 1e-12
        assert_same_figures(whole, resumed, 1e-9)


# Failing together. A rank that is told of another's failure says nothing.


def ending_of(config: Any, folder: Path) -> tuple[str, str, int]:
    """Train as one of several processes, on data or a disk that only this one has; return the error that ends it."""
    config.trainer.devices = ranks.world_size()
    if ranks.rank() and config.task != "full":
        config.data.path = str(folder.parent / "other.txt")
    with pytest.MonkeyPatch.context() as patch:
        if config.task == "full":
            full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder / "last.ckpt"))
            patch.setattr(checkpoint, "save", lambda *_: (_ for _ in ()).throw(full))
        with pytest.raises(UserError) as caught:
            run_in(folder, config, {})
    return type(caught.value).__name__, str(caught.value), caught.value.exit_code


def test_a_full_disk_on_one_rank_ends_all(processes: Together, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    full = dataclasses.replace(novel(tmp_path, folder), task="full")
    first, second = processes.call(2, ending_of, full, folder)
    assert first[0] == "UserError"
    assert "No space left on device; make room or give permission; no checkpoint was saved" in first[1]
    assert second == ("Elsewhere", "", 1)
    assert summary(folder)["status"] == "failed"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("the sea " * 300, "fingerprint is "),
        ("the sea", "its 7 characters leave"),
    ],
)
def test_other_data_on_another_machine(processes: Together, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "other.txt").write_text(text)
    folder = tmp_path / "run"
    folder.mkdir()
    endings = processes.call(2, ending_of, novel(tmp_path, folder), folder)
    assert sum(message in ending[1] for ending in endings) == 1
    assert sorted(ending[0] for ending in endings) == ["DataError", "Elsewhere"]
    assert not list(folder.iterdir())
