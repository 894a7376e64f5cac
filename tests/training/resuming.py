"""Runs that are cut off, resumed, and compared."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from rich.console import Console
from torch import Tensor

from tests.tasks.conftest import novel_config
from tests.training.boards import events, rows
from tests.training.conftest import small_config
from unroll import checkpoint
from unroll.config import Config
from unroll.progress import display
from unroll.training.run import Run
from unroll.training.start import train


class Killed(BaseException):
    """The end of a process, as far as its files go: nothing is saved any more."""


class Killer(Callback):
    """Ends the run where `hook` is called for the `count`-th time."""

    def __init__(self, hook: str, count: int) -> None:
        self.left = count
        setattr(self, hook, self.call)

    def call(self, *args: Any, **kwargs: Any) -> None:
        self.left -= 1
        if self.left == 0:
            raise Killed


def imdb(reviews: Path, folder: Path, **groups: Any) -> Any:
    """24 steps in two epochs, with drop-out, so that random numbers matter."""
    return small_config(
        reviews,
        folder,
        **{
            "model": {"dropout": 0.3, "word_dropout": 0.1},
            "trainer": {"max_epochs": 2, "log_every_n_steps": 6},
            "checkpoint": {"every_n_steps": 5, "every_n_minutes": None},
            "logger": ["tensorboard", "csv"],
            **groups,
            "data": {"batch_size": 32} | groups.get("data", {}),
        },
    )


def novel(tmp_path: Path, folder: Path, **settings: Any) -> Any:
    """22 steps in two epochs."""
    path = tmp_path.parent / "resume_text.txt"  # the same for all tests
    path.write_text("the sea and the island and the captain " * 20)
    config = novel_config(
        path,
        **{
            "data__batch_size": 6,
            "model__input_dropout": 0.2,
            "data__random_offset": True,
            "trainer__max_epochs": 2,
            "trainer__log_every_n_steps": 6,
            "trainer__gradient_clip_val": 0.5,
            "checkpoint__every_n_steps": 5,
            "checkpoint__every_n_minutes": None,
            "tbptt__window": 10,
            **settings,
        },
    )
    config.run_dir, config.logger = str(folder), ["tensorboard", "csv"]
    return config


def end_at(config: Any, callback: Callback, patch: pytest.MonkeyPatch, how: type[BaseException]) -> BaseException:
    """Train, from the start or from `config` as a folder, with one more callback; return what ended the run."""
    callbacks = Run._callbacks
    with patch.context() as inner:
        inner.setattr(Run, "_callbacks", lambda self: [*callbacks(self), callback])
        with pytest.raises(how) as caught:
            go_on(config) if isinstance(config, Path) else train(config)
    return caught.value


def cut_off(config: Any, hook: str, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Train until `hook` is called for the `count`-th time."""
    end_at(config, Killer(hook, count), monkeypatch, Killed)


def go_on(folder: str | Path, **changes: Any) -> tuple[dict[str, Any], str]:
    screen = io.StringIO()
    torch.manual_seed(1234)  # whatever the new process has drawn so far
    with display(Console(file=screen, width=300)):
        return train(Config(resume=str(folder)), changes), screen.getvalue()


def assert_same(one: Any, other: Any, place: str = "") -> None:
    """Equal to the last bit."""
    assert type(one) is type(other), place
    if isinstance(one, Tensor):
        assert one.dtype == other.dtype, place
        assert torch.equal(one, other), place
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), place
        for key in one:
            assert_same(one[key], other[key], f"{place}/{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), place
        for number, (left, right) in enumerate(zip(one, other, strict=True)):
            assert_same(left, right, f"{place}/{number}")
    else:
        assert one == other, place


def assert_same_run(whole: Path, resumed: Path) -> None:
    """The same weights, optimiser, schedule, averages, state and random state; the same figures and texts."""
    for name in ("last", "best") if (whole / "checkpoints/best.ckpt").exists() else ("last",):
        one, other = (checkpoint.load(folder / "checkpoints" / f"{name}.ckpt") for folder in (whole, resumed))
        for content in (one, other):
            content["config"]["run_dir"] = None
            for callback in content["callbacks"].values():
                for clock in ("seconds", "stretch"):
                    callback.pop(clock, None)
            loops = content["loops"]["fit_loop"]
            for counter in [key for key in loops if "val_loop" in key]:  # batches of validation so far, in this process
                loops.pop(counter)
        assert_same(one, other, name)
    if (whole / "csv").is_dir():
        assert rows(whole) == rows(resumed)
    first, second = (events(folder) for folder in (whole, resumed))
    tags = first.Tags()
    for kind in ("scalars", "tensors"):
        assert sorted(tags[kind]) == sorted(second.Tags()[kind])
    # By step: what was logged between the last save and the end of the process is logged again, and is the same.
    for tag in tags["scalars"]:
        if tag != "train/tokens_per_second":
            points = [{point.step: point.value for point in board.Scalars(tag)} for board in (first, second)]
            assert points[0] == points[1], tag
    for tag in tags["tensors"]:
        if "hparams" not in tag:
            texts = [{t.step: t.tensor_proto.string_val for t in board.Tensors(tag)} for board in (first, second)]
            assert texts[0] == texts[1], tag
