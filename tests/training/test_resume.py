"""A run that was cut off and resumed ends as one that was not: bit for bit."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.training.resuming import Killer, assert_same_run, cut_off, end_at, go_on, imdb, novel
from unroll import checkpoint
from unroll.config import to_dict
from unroll.errors import Interrupted
from unroll.training.start import train

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


def not_cut_off(config: Any) -> tuple[Path, dict[str, Any]]:
    """Return the folder and the summary of a run with these settings that was not cut off; it is trained once."""
    settings = to_dict(config)
    name = str({key: value for key, value in settings.items() if key not in ("run_dir", "data")} | settings["data"])
    if name not in _whole:
        _whole[name] = Path(config.run_dir), train(config)
    return _whole[name]


def both(make: Callable[..., Any], tmp_path: Path, hook: str, count: int, patch: pytest.MonkeyPatch) -> None:
    """Compare a whole run with one that is cut off at a place, and resumed."""
    folder, whole = not_cut_off(make(tmp_path / "whole"))
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


@pytest.mark.parametrize("count", [17])
@pytest.mark.parametrize(
    "groups",
    [
        {"trainer": {"max_epochs": 2, "accumulate_grad_batches": 3}, "checkpoint": {"every_n_steps": 2}},
        {"data": {"workers": 2}},
        {
            "encoder": {"num_layers": 2, "dropout": 0.2, "locked_dropout": True, "weight_dropout": 0.3},
            "model": {"embedding_dropout": 0.2},
            "optimizer": {"ema_decay": 0.9},
        },
        {"optimizer": {"embedding": "rows"}, "trainer": {"max_epochs": 2, "accumulate_grad_batches": 2}},
        {"trainer": {"max_epochs": None, "max_steps": 21, "val_check_interval": 5}},
        {"trainer": {"max_epochs": 2, "limit_val_batches": 0}},
        {"trainer": {"max_epochs": 2, "limit_train_batches": 6}, "early_stopping": {"patience": 1}},
        {"trainer": {"max_epochs": 2, "precision": "bf16-mixed"}},
        {"checkpoint": {"every_n_steps": None, "every_n_minutes": 1e-6}},
    ],
    ids=lambda groups: "_".join(f"{key}_{value}" for group in groups.values() for key, value in group.items()),
)
def test_reviews_with_other_settings(
    reviews: Path, tmp_path: Path, groups: dict[str, Any], count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = min(count, 9) if "limit_train_batches" in groups.get("trainer", {}) else count
    both(lambda folder: imdb(reviews, folder, **groups), tmp_path, "on_train_batch_end", count, monkeypatch)


@pytest.mark.parametrize(
    ("settings", "count"),  # the first epoch, or the second
    [
        ({"encoder__cell": "gru", "encoder__num_layers": 2, "encoder__dropout": 0.2}, 14),
        ({"trainer__accumulate_grad_batches": 3, "checkpoint__every_n_steps": 2}, 14),
        ({"data__workers": 2, "tbptt__random_window": True}, 8),
        ({"data__workers": 2, "tbptt__random_window": True}, 14),
        ({"tbptt__stride": 5}, 14),
        ({"data__tokenizer": "bpe", "data__max_size": 260, "tbptt__window": 5}, 8),
        (  # batches so small that some lack a cluster
            {
                "data__tokenizer": "whitespace",
                "tbptt__window": 2,
                "model__cutoffs": [3, 5],
                "encoder__hidden_size": 16,
            },
            14,
        ),
        ({"optimizer__ema_decay": 0.9, "optimizer__name": "sgd"}, 8),
        ({"optimizer__ema_decay": 0.9, "optimizer__embedding": "rows"}, 14),
    ],
)
def test_the_novel_with_other_settings(
    tmp_path: Path, settings: dict[str, Any], count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    both(lambda folder: novel(tmp_path, folder, **settings), tmp_path, "on_train_batch_end", count, monkeypatch)


@pytest.mark.parametrize("count", [8, 20])
def test_the_novel_with_every_regulariser(tmp_path: Path, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the first place, weights are not averaged yet; at the second, they are."""
    settings = {
        "encoder": {"num_layers": 2, "dropout": 0.2, "locked_dropout": True, "weight_dropout": 0.3},
        "model": {"embedding_dropout": 0.1, "activation_penalty": 2.0, "temporal_penalty": 1.0},
        "data": {"batch_size": 3},
        "tbptt": {"stride": 5, "state_dropout": 0.2},
        "optimizer": {"average_after": 1, "learning_rate": 3.0, "schedule": "constant"},
        "trainer": {"max_epochs": 1, "val_check_interval": 4, "limit_train_batches": 24},
    }
    flat = {f"{group}__{key}": value for group, values in settings.items() for key, value in values.items()}
    both(lambda folder: novel(tmp_path, folder, **flat), tmp_path, "on_train_batch_end", count, monkeypatch)
    average = checkpoint.load(tmp_path / "cut/checkpoints/last.ckpt")["callbacks"]["TriggeredAverage"]
    assert 8 < average["first"] < 20


def test_a_run_may_be_cut_off_many_times(reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, _ = not_cut_off(imdb(reviews, tmp_path / "whole"))
    cut_off(imdb(reviews, tmp_path / "cut"), "on_train_batch_end", 8, monkeypatch)
    for hook, count in [("on_train_batch_end", 6), ("on_validation_batch_start", 1), ("on_train_batch_end", 6)]:
        cut_off(tmp_path / "cut", hook, count, monkeypatch)
    go_on(tmp_path / "cut")
    assert_same_run(whole, tmp_path / "cut")


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
    whole, _ = not_cut_off(imdb(reviews, tmp_path / "whole", **never))
    error = end_at(imdb(reviews, tmp_path / "cut", **never), Sender(hook, at), monkeypatch, Interrupted)
    assert isinstance(error, Interrupted)
    assert error.exit_code == 128 + number
    _, screen = go_on(tmp_path / "cut")
    assert f"resuming from step {9 if hook == 'on_train_batch_end' else 12}" in screen
    assert_same_run(whole, tmp_path / "cut")


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_is_taken(
    reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _ = not_cut_off(imdb(reviews, tmp_path / "whole"))
    cut_off(imdb(reviews, tmp_path / "cut"), "on_train_batch_end", 11, monkeypatch)
    last = tmp_path / "cut/checkpoints/last.ckpt"
    content = bytearray(last.read_bytes())
    content[len(content) // 2] ^= 1
    last.write_bytes(content)
    (last.parent / ".last.ckpt.left.tmp").write_bytes(b"half a file")
    _, screen = go_on(tmp_path / "cut")
    assert "last.ckpt: damaged" in screen
    assert "previous.ckpt" in screen
    assert "resuming from step 5" in screen
    assert not list(last.parent.glob(".*"))
    assert_same_run(whole, tmp_path / "cut")
