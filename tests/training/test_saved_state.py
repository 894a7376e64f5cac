"""What a run is resumed from: each entry is checked before anything is built, and a good one is never refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.faults.hostile import states
from tests.faults.outcome import Outcome
from tests.training.resuming import cut_off, imdb, novel
from unroll import checkpoint
from unroll.errors import CheckpointError
from unroll.training.saved_state import check_state

Change = Callable[[Any], None]


@pytest.fixture(scope="module")
def cut(reviews: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with everything that a checkpoint may hold, stopped in its second epoch."""
    folder = tmp_path_factory.mktemp("runs") / "cut"
    settings = {"optimizer": {"learning_rate": 0.03, "ema_decay": 0.9}, "early_stopping": {"patience": 3}}
    with pytest.MonkeyPatch.context() as patch:
        cut_off(imdb(reviews, folder, **settings), "on_train_batch_end", 17, patch)
    return folder / "checkpoints" / "last.ckpt"


def test_what_is_saved_is_taken(cut: Path) -> None:
    check_state(checkpoint.load(cut), cut)


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_other_runs_are_taken_as_well(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config = novel(tmp_path, tmp_path / "cut", optimizer__name=name, trainer__accumulate_grad_batches=2)
    cut_off(config, "on_train_batch_end", 14, monkeypatch)
    for path in (tmp_path / "cut" / "checkpoints").glob("*.ckpt"):
        check_state(checkpoint.load(path), path)


def optimizer(content: Any) -> Any:
    return content["optimizer_states"][0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["loops"].pop("fit_loop"), "'loops.fit_loop' is missing"),
        (lambda c: c["loops"]["fit_loop"]["state_dict"].update(combined_loader=[]), "combined_loader' is damaged"),
        (lambda c: c["loops"]["fit_loop"]["epoch_progress"]["total"].update(ready=-1), "total.ready' is damaged"),
        (lambda c: c["callbacks"].pop("Checkpointing"), "'callbacks.Checkpointing' is missing"),
        (lambda c: c["callbacks"].pop("WeightAverage"), "'callbacks.WeightAverage' is missing"),
        (lambda c: c["callbacks"]["Throughput"].update(tokens="many"), "'callbacks.Throughput.tokens' is damaged"),
        (lambda c: c["callbacks"]["Throughput"]["stretch"].update(means={"a": 3}), "Throughput.a' is damaged"),
        (lambda c: c["callbacks"]["Checkpointing"].update(best_metrics={"a": "b"}), "that is no float"),
        (lambda c: c.pop("current_model_state"), "current_model_state' is missing"),
        (lambda c: optimizer(c).pop("state"), "'optimizer_states.0.state' is missing"),
        (lambda c: optimizer(c)["state"][0].pop("exp_avg"), "'optimizer_states.state.0.exp_avg' is missing"),
        (lambda c: optimizer(c)["state"][0].update(exp_avg=torch.zeros(3)), "state.0.exp_avg' is damaged"),
        (lambda c: optimizer(c)["state"][1]["exp_avg_sq"].view(-1)[:1].fill_(torch.nan), "state.1' is not finite"),
        (lambda c: optimizer(c)["state"].update({99: {}}), "'optimizer_states.state.99' is damaged"),
        (lambda c: optimizer(c)["state"].update({99: []}), "'optimizer_states.state.99' is damaged"),
        (lambda c: optimizer(c)["state"].update({99: None}), "'optimizer_states.state.99' is damaged"),
        (lambda c: optimizer(c)["state"].update({"x" * 10**6: 3}), "xxx' is damaged"),
        (lambda c: optimizer(c)["state"].update({0: {"step": 3, "more": 3}}), "state.0.step' is damaged"),
        (lambda c: c["callbacks"]["Throughput"]["stretch"].update(means={3: None}), "Throughput.3' is damaged"),
        (lambda c: optimizer(c)["param_groups"].pop(), "'optimizer_states.0.param_groups' is damaged"),
        (lambda c: optimizer(c)["param_groups"][0]["params"].pop(), "param_groups.0.params' is damaged"),
        (lambda c: optimizer(c)["param_groups"][1].update(lr=None), "param_groups.1.lr' is damaged"),
        (lambda c: c.update(lr_schedulers=[]), "'lr_schedulers' is damaged"),
        (lambda c: c["lr_schedulers"][0].update(last_epoch=None), "'lr_schedulers.last_epoch' is damaged"),
        (lambda c: c["random"].update(cpu=torch.zeros(10, dtype=torch.uint8)), "not the state of a generator"),
        (lambda c: c["random"].update(cpu=c["random"]["cpu"].flip(0)), "not the state of a generator"),
        (lambda c: c["random"].update(cuda=[3]), "not the state of a generator"),
        (lambda c: c.update({"pytorch-lightning_version": "0.9"}), "no version of Lightning 2"),
        (lambda c: c["state_dict"].popitem(), "is missing"),
    ],
)
def test_a_damaged_entry_is_named(cut: Path, change: Change, message: str) -> None:
    content = checkpoint.load(cut)
    change(content)
    with pytest.raises(CheckpointError) as caught:
        check_state(content, cut)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 300 + len(str(cut))
    assert str(cut) in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c, state: None, None),
        (lambda c, state: state.update(first=0), None),
        (lambda c, state: c["callbacks"].pop("TriggeredAverage"), "'callbacks.TriggeredAverage' is missing"),
        (lambda c, state: state.pop("figures"), "'callbacks.TriggeredAverage.figures' is missing"),
        (lambda c, state: state.update(figures=[0.5]), "'callbacks.TriggeredAverage.figures' is damaged"),
        (lambda c, state: state.update(figures={0: "0.5"}), "that is no float"),
        (lambda c, state: state.update(first=-1), "'callbacks.TriggeredAverage.first' is damaged"),
        (lambda c, state: state.update(first=40), "'averaging_state.n_averaged' is damaged"),
        (lambda c, state: c["averaging_state"].update(n_averaged=torch.tensor(-1)), "n_averaged' is damaged"),
        (lambda c, state: c.pop("averaging_state"), "averaging_state' is missing"),
    ],
)
def test_the_average_that_a_run_waits_for_is_checked(cut: Path, change: Any, message: str | None) -> None:
    content = checkpoint.load(cut)
    content["config"]["optimizer"] |= {"ema_decay": None, "average_after": 2}
    del content["callbacks"]["WeightAverage"]
    state = content["callbacks"]["TriggeredAverage"] = {"latest_update_step": 15, "figures": {0: 0.5}, "first": 10}
    change(content, state)
    if message is None:
        check_state(content, cut)
        return
    with pytest.raises(CheckpointError, match=message):
        check_state(content, cut)


def test_no_damage_ends_in_a_traceback(cut: Path) -> None:
    outcome, good = Outcome("damaged entries"), checkpoint.load(cut)
    for what, content in states(good):
        with outcome.trial(what):
            check_state(content, cut)
    assert outcome.lost == []
    assert outcome.notes["refused"] > 0.6 * outcome.tried
