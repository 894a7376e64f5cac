"""What came out of a sweep: a table, pictures, the best settings and how they test."""

from __future__ import annotations

import itertools
import shlex
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

from optuna.importance import get_param_importances
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from unroll.commands import typed
from unroll.diagnostics.drawing import drawable, new_figure, write_png
from unroll.inference.evaluate import evaluate
from unroll.progress import say
from unroll.shown import in_columns, shown
from unroll.sweep.trials import Worker

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ENDED = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "running"}
_TEST = "test"  # the study's attribute that holds the figures of the best trial's model


def show(worker: Worker, test: bool = False) -> None:
    """Print what is known of a sweep by now, and draw it in its folder.

    Args:
        worker: its journal has the trials.
        test: where all trials have ended, test the best one's model, once.
    """
    journal = worker.journal
    with journal.alone():
        trials = journal.trials()
        found = best(trials, worker.mode)
        counts = {word: sum(trial.state.name == state for trial in trials) for state, word in _ENDED.items()}
        say("")
        say(f"{len(trials)} trials: {', '.join(f'{count} {word}' for word, count in counts.items() if count)}")
        for line in table(trials, worker.objective, worker.mode):
            say(line)
        if counts["running"]:
            say("Trials that run have a worker, or lost it; the same command again takes those over.")
        if found is None:
            return
        write_png(draw_history(trials, worker.objective, worker.mode), journal.folder / "history.png")
        importances = _importances(journal.study)
        if importances:
            write_png(draw_importances(importances, worker.objective), journal.folder / "importance.png")
        say("")
        say(f"best: trial {found.number}, {worker.objective} {found.value:.4f}")
        more = "importance.png" if importances else "for importance.png there are too few complete trials that differ"
        say(f"pictures, in {journal.folder}: history.png; {more}")
        if test and not counts["running"] and len(trials) >= journal.most_trials:
            say(f"on the test split: {_tested(worker, found)}")
        say("")
        say("Next:")
        presets = [] if worker.config_dir is None else ["--config-dir", worker.config_dir]
        say(f"  {typed('train', *presets, *worker.space.settings(found.params))}")
        say(f"  tensorboard --host 127.0.0.1 --logdir {shlex.quote(str(journal.folder))}")


def best(trials: Sequence[FrozenTrial], mode: str) -> FrozenTrial | None:
    """Return the best of the trials that are complete, if any is."""
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    return sorted(complete, key=lambda trial: _worth(trial, mode))[-1] if complete else None


def _worth(trial: FrozenTrial, mode: str) -> tuple[bool, bool, float, int]:
    value = trial.value or 0.0
    is_complete, has_value = trial.state == TrialState.COMPLETE, trial.value is not None
    return is_complete, has_value, value if mode == "max" else -value, -trial.number


def table(trials: Sequence[FrozenTrial], objective: str, mode: str) -> list[str]:
    """Return the lines of a table of the trials, the best first: how each ended, its values, or why it failed."""
    if not trials:
        return []
    keys = list(trials[0].params)
    rows = [["trial", "ended", objective, *keys, ""]]
    for trial in sorted(trials, key=lambda trial: _worth(trial, mode), reverse=True):
        values = [trial.params.get(key, "") for key in keys]
        error = shown(trial.user_attrs.get("error", ""), 100)
        value = "" if trial.value is None else f"{trial.value:.4f}"
        rows.append([f"{trial.number:04}", _ENDED[trial.state.name], value, *map(_brief, values), error])
    return in_columns(rows)


def _brief(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else shown(value, 40)


def _tested(worker: Worker, found: FrozenTrial) -> str:
    """Return the figures of the best trial's model on the test split, computed once and kept in the journal."""
    study = worker.journal.study
    tested = study.user_attrs.get(_TEST, {})
    if tested.get("trial") != found.number:
        checkpoint = worker.journal.run_dir(found.number) / "checkpoints" / "best.ckpt"
        tested = {"trial": found.number, "figures": evaluate(checkpoint, None, "test")}
        study.set_user_attr(_TEST, tested)
    return "  ".join(f"{name} {_brief(value)}" for name, value in tested["figures"].items() if "/" not in name)


def _importances(study: Study) -> dict[str, float] | None:
    """Return each setting's share of what moves the objective; None where too few trials are complete."""
    if len({trial.value for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))}) < 2:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # that good trials can't be told from the others
        try:
            return get_param_importances(study)
        except UserWarning:
            return None


def draw_history(trials: Sequence[FrozenTrial], objective: str, mode: str) -> Figure:
    """Draw each trial's value, and the best one so far."""
    from matplotlib.ticker import MaxNLocator

    figure = new_figure()
    axes = figure.subplots()
    for state, label, marker in ((TrialState.COMPLETE, "complete", "o"), (TrialState.PRUNED, "pruned", "x")):
        ended = [(trial.number, trial.value) for trial in trials if trial.state == state and trial.value is not None]
        if not ended:
            continue
        numbers, values = zip(*ended, strict=True)
        axes.plot(numbers, values, marker, markersize=4, label=label)
        if state == TrialState.COMPLETE:
            line = itertools.accumulate(values, max if mode == "max" else min)
            axes.step(numbers, list(line), where="post", color="0.4", linewidth=1, label="best so far")
    axes.set_xlabel("trial")
    axes.set_ylabel(objective)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(fontsize=7)
    return figure


def draw_importances(importances: dict[str, float], objective: str) -> Figure:
    """Draw each setting's importance for the objective, by PED-ANOVA (Watanabe et al. 2023, arXiv:2304.10255)."""
    names, families = drawable(importances)
    figure = new_figure(height=1.2 + 0.3 * len(names))
    axes = figure.subplots()
    axes.barh(range(len(names)), list(importances.values()))
    axes.set_yticks(range(len(names)), names, fontfamily=families)
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xlabel(f"importance for {objective}")
    return figure
