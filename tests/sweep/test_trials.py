"""Trials as runs: killed and taken over, pruned, failed alone; and what is shown of them."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import Callback
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.scripts import Shell
from tests.training.resuming import Killed, Killer, assert_same_run, go_on, imdb
from unroll.errors import ConfigError, Interrupted, Pruned, UserError
from unroll.progress import display
from unroll.sweep import results
from unroll.sweep.space import read
from unroll.sweep.trials import Worker
from unroll.training.callbacks.pruning import Pruning
from unroll.training.run import Run
from unroll.training.start import train

SMALL = (
    "task=imdb",
    "data.limit=160",  # ten steps an epoch
    "data.batch_size=16",
    "data.max_length=20",
    "encoder.hidden_size=8",
    "model.embedding_size=8",
    "trainer.max_epochs=2",
    "checkpoint.every_n_steps=5",
    "diagnostics.every_n_steps=null",
)


@pytest.fixture
def worker(reviews: Path, tmp_path: Path) -> Callable[..., Worker]:
    """Begin a worker: `worker("a", "seed=1,2")`."""

    def begin(folder: str, *settings: str) -> Worker:
        data = (f"data.path={reviews}", f"data.folder={reviews / 'work'}")
        config, space = read([*SMALL, *data, f"sweep.dir={tmp_path / folder}", *settings])
        return Worker(config, space, space.first())

    return begin


def interrupted_by(worker: Worker, callback: Callback, how: type[BaseException], patch: pytest.MonkeyPatch) -> str:
    callbacks = Run._callbacks
    with patch.context() as inner:
        inner.setattr(Run, "_callbacks", lambda self: [*callbacks(self), callback])
        with pytest.raises(how) as caught:
            worker.work()
    return str(caught.value)


class Terminated(Callback):
    """SIGTERM in the run's first batch."""

    def on_train_batch_end(self, *args: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)


def test_a_trial_that_lost_its_worker_is_resumed_by_the_next_to_the_last_bit(
    worker: Callable[..., Worker], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = ("optimizer.learning_rate=tag(log,interval(1e-3,1e-1))", "sweep.trials=1")
    worker("whole", *space).work()
    interrupted_by(worker("cut", *space), Killer("on_train_batch_end", 13), Killed, monkeypatch)
    said = interrupted_by(worker("cut", *space), Terminated(), Interrupted, monkeypatch)
    assert said == "stopped by SIGTERM; trial 0 is saved, and the same command resumes it"
    last = worker("cut", *space)
    screen = io.StringIO()
    with display(Console(file=screen, width=200)):
        last.work()
    assert "trial 0 has lost its worker, and is taken over" in screen.getvalue()
    assert "resuming from step 11 " in screen.getvalue()
    (one,), (other,) = (each.journal.trials() for each in (worker("whole", *space), last))
    assert (one.state.name, one.params, one.value) == (other.state.name, other.params, other.value)
    assert one.intermediate_values == other.intermediate_values
    assert list(one.intermediate_values) == [0, 1]
    for folder in (tmp_path / "whole", tmp_path / "cut"):
        best = json.loads((folder / "trials" / "0000" / "summary.json").read_text())["metrics"]
        assert best["val/accuracy"] == one.value
        assert not any(name.startswith("test/") for name in best)
    assert_same_run(tmp_path / "whole" / "trials" / "0000", tmp_path / "cut" / "trials" / "0000")


def test_an_impossible_setting_fails_alone_and_the_best_is_tested_once(
    worker: Callable[..., Worker], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = worker("a", "encoder.dropout=choice(0.3,0)", "sweep.sampler=grid", "trainer.max_epochs=1")
    sweep.work()
    failed, complete = sweep.journal.trials()
    assert (failed.state.name, complete.state.name) == ("FAIL", "COMPLETE")
    assert failed.user_attrs["error"].startswith("encoder.dropout works between layers, and there is only one")
    screen = io.StringIO()
    with display(Console(file=screen, width=400)):
        results.show(sweep, test=True)
        monkeypatch.delattr("unroll.sweep.results.evaluate")  # it is not tested again
        results.show(sweep, test=True)
    lines = [line.split() for line in screen.getvalue().splitlines()]
    assert lines[1:3] == [["2", "trials:", "1", "complete,", "1", "failed"],
                          ["trial", "ended", "val/accuracy", "encoder.dropout"]]  # fmt: skip
    assert lines[3] == ["0001", "complete", f"{complete.value:.4f}", "0"]
    assert lines[4][:4] == ["0000", "failed", "0.3", "encoder.dropout"]
    command = next(line for line in screen.getvalue().splitlines() if " train " in line)
    assert command.endswith("trainer.max_epochs=1 encoder.dropout=0")
    tested = [line for line in screen.getvalue().splitlines() if line.startswith("on the test split: accuracy")]
    assert len(tested) == 2 and tested[0] == tested[1]
    sweep.journal.most_trials, sweep.config_dir = 3, Path("mine")  # one trial is to come; presets of one's own
    with display(Console(file=screen, width=400)):
        results.show(sweep, test=True)
    assert screen.getvalue().count("on the test split") == 2
    assert " train --config-dir mine " in screen.getvalue()
    assert (tmp_path / "a" / "history.png").read_bytes().startswith(b"\x89PNG")
    events = EventAccumulator(str(tmp_path / "a" / "trials" / "0001" / "tensorboard"))
    events.Reload()
    assert [point.value for point in events.Scalars("sweep/accuracy")] == pytest.approx([complete.value])
    content = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    assert b"encoder.dropout" in content


def test_a_metric_that_is_not_there_ends_the_sweep_after_the_first_validation(worker: Callable[..., Worker]) -> None:
    sweep = worker("a", "seed=1,2", "sweep.objective=val/f2", "sweep.mode=max")
    with pytest.raises(ConfigError, match=r"delete .*/a and write val/loss or val/accuracy or val/auroc or val/f1$"):
        sweep.work()
    assert len(sweep.journal.trials()) == 1
    summary = json.loads((sweep.journal.run_dir(0) / "summary.json").read_text())
    assert summary["train"]["epochs"] == 0
    with pytest.raises(ConfigError, match=r"is none of unroll's metrics, such as val/accuracy"):
        worker("b", "seed=1,2", "sweep.objective=val/acuracy")
    with pytest.raises(ConfigError, match="trials are compared by their validation"):
        worker("b", "seed=1,2", "trainer.limit_val_batches=0")


def test_data_that_are_not_there_end_the_sweep_after_three_trials(worker: Callable[..., Worker]) -> None:
    sweep = worker("a", "seed=range(9)", "data.path=nowhere.csv")
    with pytest.raises(UserError, match=r"all of the first 3 trials failed, the last one because: nowhere\.csv"):
        sweep.work()
    assert len(sweep.journal.trials()) == 3


@pytest.mark.parametrize(("name", "mode"), [("val/bpc", "min"), ("val/loss", "min"), ("val/f1/bad", "max")])
def test_which_is_better_is_known(worker: Callable[..., Worker], name: str, mode: str) -> None:
    sweep = worker("a", "seed=1,2", f"sweep.objective={name}")
    assert (sweep.objective, sweep.mode) == (name, mode)
    assert sweep.journal.study.direction.name == f"{mode}imize".upper()


def test_a_pruned_run_is_saved_and_can_be_resumed(reviews: Path, tmp_path: Path) -> None:
    four = {"data": {"limit": 160, "batch_size": 16}, "trainer": {"val_check_interval": 0.5}}
    reported: list[tuple[int, float]] = []

    def report(number: int, value: float) -> bool:
        reported.append((number, value))
        return number == 2

    with pytest.raises(Pruned):
        train(imdb(reviews, tmp_path / "pruned", **four), callbacks=[Pruning(lambda m: float(m["val/loss"]), report)])
    assert [number for number, _ in reported] == [0, 1, 2]
    summary = json.loads((tmp_path / "pruned" / "summary.json").read_text())
    assert (summary["status"], summary["train"]["steps"]) == ("pruned", 10 + 5)
    train(imdb(reviews, tmp_path / "whole", **four))
    go_on(tmp_path / "pruned")
    assert_same_run(tmp_path / "whole", tmp_path / "pruned")


def test_a_trial_without_loggers_has_no_folder_of_theirs(worker: Callable[..., Worker]) -> None:
    sweep, screen = worker("a", "seed=1,2", "sweep.trials=1", "trainer.max_steps=2", "logger=[]"), io.StringIO()
    with display(Console(file=screen, width=200)):
        sweep.work()
    assert not (sweep.journal.run_dir(0) / "tensorboard").exists()
    shown = [line.split()[0] for line in screen.getvalue().splitlines() if line]
    assert "val" in shown and "test" not in shown  # trials are not tested


def test_a_pruned_trial_counts_with_what_it_reached(worker: Callable[..., Worker]) -> None:
    sweep = worker("a", "seed=1,2", "sweep.trials=1")
    sweep.journal.study.pruner = _Always()
    sweep.work()
    (trial,) = sweep.journal.trials()
    assert trial.state.name == "PRUNED"
    assert trial.value == trial.intermediate_values[0]
    assert list(trial.intermediate_values) == [0]


class _Always:
    def prune(self, study: Any, trial: Any) -> bool:
        return True


def test_the_command(shell: Shell, reviews: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = (*SMALL, f"data.path={reviews}", f"data.folder={reviews / 'work'}", "trainer.max_epochs=1")
    said = shell("sweep.py", *settings, "sweep.dir=a", "sweep.trials=1", "encoder=choice(gru,lstm)")
    assert said.code == 0, said.err
    assert "1 trials: 1 complete" in said.out
    again = shell("sweep.py", *settings, "sweep.dir=a", "sweep.trials=1", "encoder=choice(gru,lstm)")
    assert again.out.splitlines()[-8:] == said.out.splitlines()[-8:]
    other = shell("sweep.py", *settings, "sweep.dir=a", "encoder=choice(gru,lstm)", "seed=3")
    assert other.code == 2
    assert other.one_line() == (
        "error: seed is 0 in a and stays so, and 3 was given; write what it was, or name another sweep.dir"
    )
    assert "needs a folder" in shell("sweep.py", "task=imdb", "seed=1,2").one_line()
    assert "threads=-1: must be" in shell("sweep.py", "task=imdb", "sweep.dir=b", "threads=-1", "seed=1,2").one_line()
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")
    monkeypatch.setenv("SLURM_PROCID", "0")
    monkeypatch.setenv("SLURM_LOCALID", "0")
    assert "without torchrun or srun" in shell("sweep.py", "seed=1,2").one_line()


def test_without_optuna(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "unroll.sweep.space")
    monkeypatch.delitem(sys.modules, "optuna.distributions")
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert "pip install 'unroll[sweep]'" in shell("sweep.py", "seed=1,2").one_line()
