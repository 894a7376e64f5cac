"""The table and the pictures of a sweep, of trials made by hand."""

from __future__ import annotations

from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from unroll.sweep.results import best, draw_history, draw_importances, table

ENDS = [("COMPLETE", 1.5), ("PRUNED", 0.5), ("FAIL", None), ("COMPLETE", 1.25), ("RUNNING", None), ("COMPLETE", 2.0)]


def trials() -> list[FrozenTrial]:
    made = []
    for number, (state, value) in enumerate(ENDS):
        trial = create_trial(
            state=TrialState[state],
            value=value,
            params={"encoder": "gru", "rate": 0.001234567},
            distributions={"encoder": CategoricalDistribution(["gru"]), "rate": FloatDistribution(0, 1)},
            user_attrs={"error": "it can't\nbe"} if state == "FAIL" else {},
        )
        trial.number = number
        made.append(trial)
    return made


def test_the_table_has_the_best_first() -> None:
    lines = table(trials(), "val/bpc", "min")
    assert [line.split()[0] for line in lines] == ["trial", "0003", "0000", "0005", "0001", "0002", "0004"]
    assert lines[0].split() == ["trial", "ended", "val/bpc", "encoder", "rate"]
    assert lines[1].split() == ["0003", "complete", "1.2500", "gru", "0.001235"]
    assert lines[4].split() == ["0001", "pruned", "0.5000", "gru", "0.001235"]
    assert lines[5].split() == ["0002", "failed", "gru", "0.001235", "it", "can't↵be"]
    assert [line.split()[0] for line in table(trials(), "val/f1", "max")][1:3] == ["0005", "0000"]
    assert table([], "val/bpc", "min") == []


def test_only_a_complete_trial_is_the_best() -> None:
    for mode, number in (("min", 3), ("max", 5)):
        found = best(trials(), mode)
        assert found is not None and found.number == number
    assert best(trials()[1:3], "min") is None


def test_the_history() -> None:
    (axes,) = draw_history(trials(), "val/bpc", "min").axes
    lines = {line.get_label(): line.get_xydata().tolist() for line in axes.lines}  # type: ignore[union-attr]
    assert lines == {
        "complete": [[0, 1.5], [3, 1.25], [5, 2]],
        "best so far": [[0, 1.5], [3, 1.25], [5, 1.25]],
        "pruned": [[1, 0.5]],
    }
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("trial", "val/bpc")


def test_the_importances() -> None:
    (axes,) = draw_importances({"rate": 0.75, "encoder": 0.25}, "val/bpc").axes
    assert [bar.get_width() for bar in axes.patches] == [0.75, 0.25]  # type: ignore[attr-defined]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["rate", "encoder"]
    assert axes.get_xlabel() == "importance for val/bpc"
