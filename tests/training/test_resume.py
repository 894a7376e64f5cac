"""A run that was cut off and gone on with ends as one that was not: bit for bit."""

from __future__ import annotations

import copy
import io
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from rich.console import Console
from torch import Tensor

from tests.conftest import write_reviews
from tests.tasks.conftest import novel_config
from tests.training.conftest import small_config
from tests.training.test_run import events
from unroll import checkpoint
from unroll.config import to_dict
from unroll.errors import CheckpointError, ConfigError, Interrupted, UserError
from unroll.inference.evaluate import evaluate
from unroll.inference.load import load
from unroll.training.resume import find_start
from unroll.training.run import Run, train


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
    """46 steps in two epochs, with drop-out, so that random numbers matter."""
    return small_config(
        reviews,
        folder,
        **{
            "model": {"dropout": 0.3, "word_dropout": 0.1},
            "trainer": {"max_epochs": 2, "log_every_n_steps": 6},
            "checkpoint": {"every_n_steps": 5, "every_n_minutes": None},
            **groups,
        },
    )


def novel(tmp_path: Path, folder: Path, **settings: Any) -> Any:
    """About 40 steps in two epochs."""
    path = tmp_path.parent / "resume_text.txt"  # the same for all tests
    path.write_text("the sea and the island and the captain " * 20)
    config = novel_config(
        path,
        **{
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
    config.run_dir = str(folder)
    return config


def end_at(config: Any, callback: Callback, patch: pytest.MonkeyPatch, how: type[BaseException]) -> BaseException:
    """Train, from the start or from `config` as a folder, with one more callback; return what ended the run."""
    callbacks = Run._callbacks
    with patch.context() as inner:
        inner.setattr(Run, "_callbacks", lambda self: [*callbacks(self), callback])
        with pytest.raises(how) as caught:
            go_on(config) if isinstance(config, Path) else train(config, Console(file=io.StringIO()))
    return caught.value


def cut_off(config: Any, hook: str, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Train until `hook` is called for the `count`-th time."""
    end_at(config, Killer(hook, count), monkeypatch, Killed)


def go_on(folder: str | Path, **changes: Any) -> tuple[dict[str, Any], str]:
    screen = io.StringIO()
    console = Console(file=screen, width=300)
    torch.manual_seed(1234)  # whatever the new process has drawn so far
    start = find_start(Path(folder), changes, console)
    return train(start.config, console, start), screen.getvalue()


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
    """The same weights, optimiser, schedule, averages, state and random state; the same figures, pictures and texts."""
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


PLACES = [
    ("on_train_batch_end", 7),  # in the middle of an epoch
    ("on_train_batch_start", 6),  # right after the first save
    ("on_train_batch_end", 6),  # right after the step that follows
    ("on_validation_batch_end", 1),  # in the middle of a validation
    ("on_validation_end", 1),  # at the end of an epoch, the best saved, the last not yet
    ("on_train_epoch_start", 2),  # at the beginning of the next
    ("on_train_epoch_end", 2),  # at the very end
    ("on_test_batch_end", 1),  # in the test
]


_whole: dict[str, tuple[Path, dict[str, Any]]] = {}  # runs that were not cut off, by their settings


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most of a small run's time."""
    monkeypatch.setattr("torch.utils.tensorboard.SummaryWriter.add_figure", lambda *_: None)


def both(make: Callable[..., Any], tmp_path: Path, hook: str, count: int, patch: pytest.MonkeyPatch) -> None:
    """Compare a whole run with one that is cut off at a place, and gone on with."""
    settings = to_dict(make(tmp_path / "whole"))
    name = str({key: value for key, value in settings.items() if key not in ("run_dir", "data")} | settings["data"])
    if name not in _whole:
        _whole[name] = tmp_path / "whole", train(make(tmp_path / "whole"), Console(file=io.StringIO()))
    folder, whole = _whole[name]
    cut_off(make(tmp_path / "cut"), hook, count, patch)
    resumed, _ = go_on(tmp_path / "cut")
    assert resumed["status"] == "completed"
    assert resumed["metrics"] == whole["metrics"]
    assert {key: resumed["train"][key] for key in ("steps", "epochs", "tokens")} == {
        key: whole["train"][key] for key in ("steps", "epochs", "tokens")
    }
    assert_same_run(folder, tmp_path / "cut")


@pytest.mark.parametrize(("hook", "count"), PLACES)
def test_reviews_at_any_place(
    reviews: Path, tmp_path: Path, hook: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    both(lambda folder: imdb(reviews, folder), tmp_path, hook, count, monkeypatch)


@pytest.mark.parametrize(("hook", "count"), PLACES)
def test_the_novel_at_any_place(tmp_path: Path, hook: str, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    both(lambda folder: novel(tmp_path, folder), tmp_path, hook, count, monkeypatch)


@pytest.mark.parametrize("count", [8, 29])
@pytest.mark.parametrize(
    "groups",
    [
        {"trainer": {"max_epochs": 2, "accumulate_grad_batches": 3}, "checkpoint": {"every_n_steps": 2}},
        {"data": {"workers": 2}},
        {"optimizer": {"ema_decay": 0.9}},
        {"trainer": {"max_epochs": None, "max_steps": 40, "val_check_interval": 7}},
        {"trainer": {"max_epochs": 2, "limit_val_batches": 0}},
        {"trainer": {"max_epochs": 2, "limit_train_batches": 12}, "early_stopping": {"patience": 1}},
        {"trainer": {"max_epochs": 2, "precision": "bf16-mixed"}},
        {"checkpoint": {"every_n_steps": None, "every_n_minutes": 1e-6}},
    ],
    ids=lambda groups: "_".join(f"{key}_{value}" for group in groups.values() for key, value in group.items()),
)
def test_reviews_with_other_settings(
    reviews: Path, tmp_path: Path, groups: dict[str, Any], count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = min(count, 20) if "limit_train_batches" in groups.get("trainer", {}) else count
    both(lambda folder: imdb(reviews, folder, **groups), tmp_path, "on_train_batch_end", count, monkeypatch)


@pytest.mark.parametrize("count", [8, 26])
@pytest.mark.parametrize(
    "settings",
    [
        {"encoder__cell": "gru", "encoder__num_layers": 2, "encoder__dropout": 0.2},
        {"trainer__accumulate_grad_batches": 3, "checkpoint__every_n_steps": 2},
        {"data__workers": 2, "tbptt__random_window": True},
        {"tbptt__stride": 5},
        {"optimizer__ema_decay": 0.9, "optimizer__name": "sgd"},
    ],
    ids=lambda settings: "_".join(f"{key}_{value}" for key, value in settings.items()),
)
def test_the_novel_with_other_settings(
    tmp_path: Path, settings: dict[str, Any], count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    both(lambda folder: novel(tmp_path, folder, **settings), tmp_path, "on_train_batch_end", count, monkeypatch)


def test_a_run_may_be_cut_off_many_times(reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(imdb(reviews, tmp_path / "whole"), Console(file=io.StringIO()))
    cut_off(imdb(reviews, tmp_path / "cut"), "on_train_batch_end", 8, monkeypatch)
    for hook, count in [("on_train_batch_end", 9), ("on_validation_batch_start", 1), ("on_train_batch_end", 12)]:
        cut_off(tmp_path / "cut", hook, count, monkeypatch)
    go_on(tmp_path / "cut")
    assert_same_run(tmp_path / "whole", tmp_path / "cut")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(("hook", "at"), [("on_train_batch_end", 9), ("on_validation_batch_start", 1)])
def test_a_signal_loses_nothing(
    reviews: Path, tmp_path: Path, number: int, hook: str, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Sender(Killer):
        def call(self, *args: Any, **kwargs: Any) -> None:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), number)

    never = {"checkpoint": {"every_n_steps": None, "every_n_minutes": None}}
    train(imdb(reviews, tmp_path / "whole", **never), Console(file=io.StringIO()))
    error = end_at(imdb(reviews, tmp_path / "cut", **never), Sender(hook, at), monkeypatch, Interrupted)
    assert isinstance(error, Interrupted)
    assert error.exit_code == 128 + number
    _, screen = go_on(tmp_path / "cut")
    assert f"going on from step {9 if hook == 'on_train_batch_end' else 23}" in screen
    assert_same_run(tmp_path / "whole", tmp_path / "cut")


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_is_taken(
    reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(imdb(reviews, tmp_path / "whole"), Console(file=io.StringIO()))
    cut_off(imdb(reviews, tmp_path / "cut"), "on_train_batch_end", 17, monkeypatch)
    last = tmp_path / "cut/checkpoints/last.ckpt"
    content = bytearray(last.read_bytes())
    content[len(content) // 2] ^= 1
    last.write_bytes(content)
    (last.parent / ".last.ckpt.left.tmp").write_bytes(b"half a file")
    _, screen = go_on(tmp_path / "cut")
    assert "last.ckpt: damaged" in screen
    assert "previous.ckpt" in screen
    assert "going on from step 10" in screen
    assert not list(last.parent.glob(".*"))
    assert_same_run(tmp_path / "whole", tmp_path / "cut")


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


def test_another_corpus_is_named_by_its_fingerprint(cut: Path, tmp_path: Path) -> None:
    write_reviews(tmp_path / "other.csv", 400, seed=5)
    with pytest.raises(CheckpointError, match="fingerprint"):
        go_on(cut, **{"data.path": str(tmp_path / "other.csv")})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.pop("position"), "'position' is missing"),
        (lambda content: content.update(random=[]), "'random' is missing or no dict"),
        (lambda content: content["random"].update(cpu=torch.ones(3)), "'random' is not the state"),
        (lambda content: content["position"].update(batch="1"), "'position' is not of whole numbers"),
        (lambda content: content["versions"].update(unroll="1.0"), "saved by unroll 1.0, and this is 0."),
        (lambda content: content["vocabulary"].append("new"), "another vocabulary"),
    ],
)
def test_what_can_not_be_gone_on_from_is_named(cut: Path, change: Callable[[Any], None], message: str) -> None:
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
    assert "TensorBoard's folder is gone" in str(error)
    assert "\n" not in str(error)
    assert checkpoint.load(tmp_path / "cut/checkpoints/last.ckpt")["global_step"] == 5
    go_on(tmp_path / "cut")


def test_a_strangers_checkpoint_does_not_choose_where_data_lands(cut: Path, tmp_path: Path) -> None:
    path = cut / "checkpoints/last.ckpt"
    content = checkpoint.load(path)
    content["config"]["data"]["folder"] = str(tmp_path / "elsewhere")
    checkpoint.save(content, path)
    with pytest.raises(ConfigError, match="elsewhere, outside of the current folder"):
        go_on(cut)
    with pytest.raises(ConfigError, match="elsewhere, outside of the current folder"):
        evaluate(load(path), None, "val")
    assert not (tmp_path / "elsewhere").exists()
    go_on(cut, **{"data.folder": str(tmp_path / "data")})


def test_a_complete_run_is_left_alone(cut: Path) -> None:
    go_on(cut)
    with pytest.raises(ConfigError, match="is complete"):
        go_on(cut)


def test_a_folder_without_a_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        go_on(tmp_path)
