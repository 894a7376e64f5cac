"""Curves of several runs in one picture: any scalar that they wrote for TensorBoard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from unroll.errors import DataError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Curve:
    """One scalar of one run."""

    steps: list[int]  # optimiser steps
    values: list[float]


def read_curves(run_dir: Path, names: Sequence[str]) -> dict[str, Curve]:
    """Return the curves of a run by name, in the order asked for.

    Raises:
        DataError: it is no run directory, or has no such curve.
    """
    from tensorboard.backend.event_processing.event_accumulator import SCALARS, EventAccumulator

    folder = run_dir / "tensorboard"
    if not folder.is_dir():
        raise DataError(f"{run_dir}: holds no tensorboard/; name the run_dir of a run")
    events = EventAccumulator(str(folder), size_guidance={SCALARS: 0})
    events.Reload()
    there = sorted(events.Tags()[SCALARS])
    for name in names:
        if name not in there:
            raise DataError(f"{run_dir}: has no curve '{name}'; there are {', '.join(there)}")
    curves = {name: events.Scalars(name) for name in names}
    return {name: Curve([e.step for e in points], [e.value for e in points]) for name, points in curves.items()}


def literal(text: str) -> str:
    """Return a text such that matplotlib shows it as it is: between two dollar signs it reads mathematics."""
    return text.replace("$", r"\$")


def draw(runs: dict[str, dict[str, Curve]]) -> Figure:
    """Draw one plot a scalar, one line in it a run; those that span more than two decades on a logarithmic scale."""
    from matplotlib.figure import Figure

    names = list(next(iter(runs.values())))
    figure = Figure(figsize=(9, 0.6 + 2.5 * len(names)), dpi=110, layout="constrained")
    for axes, name in zip(figure.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0], names, strict=True):
        for run, curves in runs.items():
            curve = curves[name]
            marker = "." if len(curve.steps) < 10 else None
            axes.plot(curve.steps, curve.values, label=literal(run), linewidth=1.2, marker=marker)
        values = [value for curves in runs.values() for value in curves[name].values]
        if min(values) > 0 and max(values) > 100 * min(values):
            axes.set_yscale("log")
        axes.set(ylabel=name)
        axes.grid(alpha=0.3)
    axes.set(xlabel="optimiser steps")
    figure.axes[0].legend(fontsize=9)
    return figure
