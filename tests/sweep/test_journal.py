"""What workers share: values of their own, no trial twice, none lost, whatever ends one of them."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import Trial, TrialState

from tests.training.resuming import Killed
from unroll.errors import ConfigError, DataError
from unroll.sweep import journal as journal_module
from unroll.sweep.journal import Journal
from unroll.sweep.space import read

SWEPT = ("model.dropout=interval(0,1)", "encoder=gru,lstm")


def opened(folder: Path, *settings: str, swept: tuple[str, ...] = SWEPT, mode: str = "max", **shared: Any) -> Journal:
    config, space = read([*swept, f"sweep.dir={folder}", *settings])
    return Journal(config, space, mode, shared)


def tried(journal: Journal) -> Iterator[dict[str, Any]]:
    """Yield the values of each new trial, and complete it."""
    while True:
        with journal.next() as trial:
            if trial is None:
                return
            yield dict(trial.params)
            journal.study.tell(trial, 0.5)


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_two_workers_draw_other_values_and_together_those_of_one(tmp_path: Path, sampler: str) -> None:
    settings = (f"sweep.sampler={sampler}", "sweep.trials=6")
    alone = list(tried(opened(tmp_path / "one", *settings)))
    two = [tried(opened(tmp_path / "two", *settings)) for _ in range(2)]
    assert [next(two[number % 2]) for number in range(6)] == alone
    assert len({values["model.dropout"] for values in alone}) == 6
    assert list(tried(opened(tmp_path / "seed", *settings, "sweep.seed=1"))) != alone


def test_two_workers_go_through_the_grid_once(tmp_path: Path) -> None:
    grid = ("seed=range(3)", "encoder=gru,lstm")
    two = [tried(opened(tmp_path, "sweep.sampler=grid", "sweep.trials=50", swept=grid)) for _ in range(2)]
    found = [(values["encoder"], values["seed"]) for pair in itertools.zip_longest(*two) for values in pair]
    assert found == list(itertools.product(("gru", "lstm"), range(3)))


def test_tpe_searches_where_it_was_better(tmp_path: Path) -> None:
    journal = opened(tmp_path, "sweep.trials=40", mode="min")
    for _ in range(40):
        with journal.next() as trial:
            assert trial is not None
            journal.study.tell(trial, (trial.params["model.dropout"] - 0.3) ** 2 + (trial.params["encoder"] == "gru"))
    first, last = journal.trials()[:10], journal.trials()[-15:]
    distances = [np.median([abs(trial.params["model.dropout"] - 0.3) for trial in some]) for some in (first, last)]
    assert distances[1] < distances[0] / 2
    assert sum(trial.params["encoder"] == "lstm" for trial in last) > 10


@pytest.mark.parametrize(
    ("pruner", "steps", "good", "bad"), [("median", 2, 5, 2), ("hyperband", 9, 6, 6), ("none", 2, 5, 2)]
)
def test_trials_that_do_worse_than_most_are_pruned(
    tmp_path: Path, pruner: str, steps: int, good: int, bad: int
) -> None:
    journal = opened(tmp_path, f"sweep.pruner={pruner}", "sweep.sampler=random")
    ended = []
    for value in [0.9] * good + [0.1] * bad:
        with journal.next() as trial:
            assert trial is not None
            for step in range(steps):
                trial.report(value, step)
                if trial.should_prune():
                    ended.append(journal.study.tell(trial, state=TrialState.PRUNED).value)
                    break
            else:
                journal.study.tell(trial, value)
    assert set(ended) == (set() if pruner == "none" else {0.1})


def killed_at(patch: pytest.MonkeyPatch, owner: Any, name: str, journal: Journal) -> None:
    """Take the next trial, and end the worker where it calls the method."""

    def end(*args: Any, **kwargs: Any) -> None:
        raise Killed

    with patch.context() as inner:
        inner.setattr(owner, name, end)
        with pytest.raises(Killed), journal.next():
            pass


# Before the trial is new, before it has values, when it has one of two, and when it is whole.
@pytest.mark.parametrize(
    ("owner", "name"), [(optuna.Study, "ask"), (journal_module, "suggest"), (Trial, "suggest_int"), (None, "")]
)
@pytest.mark.parametrize("sampler", ["random", "grid"])
def test_a_worker_that_is_killed_while_it_takes_a_trial_leaves_it_to_the_next(
    tmp_path: Path, owner: Any, name: str, sampler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, swept = (f"sweep.sampler={sampler}", "sweep.trials=3"), ("model.dropout=range(0,1,0.1)", "seed=range(9)")
    expected = list(tried(opened(tmp_path / "whole", *settings, swept=swept)))
    journal = opened(tmp_path / "killed", *settings, swept=swept)
    if owner is None:
        with pytest.raises(Killed), journal.next():
            raise Killed
    else:
        killed_at(monkeypatch, owner, name, journal)
    journal = opened(tmp_path / "killed", *settings, swept=swept)
    assert list(tried(journal)) == expected
    assert [trial.number for trial in journal.trials()] == [0, 1, 2]


def test_a_trial_of_another_worker_is_not_taken(tmp_path: Path) -> None:
    one, other = (opened(tmp_path, "sweep.trials=2") for _ in range(2))
    with ExitStack() as stack:
        first, second = stack.enter_context(one.next()), stack.enter_context(other.next())
        assert first is not None and second is not None
        assert (first.number, second.number) == (0, 1)
        assert stack.enter_context(one.next()) is None
    with one.next() as again:  # both workers are gone
        assert again is not None and again.number == 0


def test_a_torn_last_line_is_cut_wherever_it_was_torn(tmp_path: Path) -> None:
    journal = opened(tmp_path / "whole", "sweep.trials=3")
    list(tried(journal))
    *lines, last = (tmp_path / "whole" / "journal.log").read_bytes().splitlines(keepends=True)
    assert json.loads(last)["state"] == TrialState.COMPLETE.value
    for length in (1, len(last) // 2, len(last) - 1):
        folder = tmp_path / str(length)
        shutil.copytree(tmp_path / "whole", folder)
        (folder / "journal.log").write_bytes(b"".join(lines) + last[:length])
        found = opened(folder, "sweep.trials=3")
        assert (folder / "journal.log").read_bytes().startswith(b"".join(lines) + b'{"')
        assert [trial.state.name for trial in found.trials()] == ["COMPLETE", "COMPLETE", "RUNNING"]
        list(tried(found))
        assert [trial.state.name for trial in found.trials()] == ["COMPLETE"] * 3


def test_a_line_that_is_torn_while_others_work_is_cut_by_the_next_that_writes(tmp_path: Path) -> None:
    journal = opened(tmp_path, "sweep.trials=2")
    trials = tried(journal)
    next(trials)
    with (tmp_path / "journal.log").open("ab") as file:
        file.write(b'{"op_code":')
    assert len(list(trials)) == 1
    assert all(json.loads(line) for line in (tmp_path / "journal.log").read_text().splitlines())


@pytest.mark.parametrize("damage", [b"}{\n", b'{"op_code":4}\n', b"[]\n", b'{"op_code":99,"worker_id":""}\n'])
def test_a_journal_that_is_damaged_elsewhere_is_refused(tmp_path: Path, damage: bytes) -> None:
    list(tried(opened(tmp_path, "sweep.trials=1")))
    path = tmp_path / "journal.log"
    first, *others = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + damage + b"".join(others))
    with pytest.raises(DataError, match=r"journal\.log: is damaged") as caught:
        opened(tmp_path, "sweep.trials=1").trials()
    assert "\n" not in str(caught.value)


def test_another_search_is_refused_and_more_trials_are_not(tmp_path: Path) -> None:
    opened(tmp_path, "sweep.trials=1", seed=0)
    assert opened(tmp_path, "sweep.trials=2", seed=0).most_trials == 2
    with pytest.raises(ConfigError, match=r"seed is 0 in .* and 1 was given"):
        opened(tmp_path, seed=1)
    with pytest.raises(ConfigError, match="extra is null in"):
        opened(tmp_path, seed=0, extra="a")
    with pytest.raises(ConfigError, match=r"seed is 0 in .* and null was given"):
        opened(tmp_path)
