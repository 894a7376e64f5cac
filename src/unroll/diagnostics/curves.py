"""Curves of several runs in one picture, from the scalars that they logged to TensorBoard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from unroll.diagnostics.drawing import drawable, new_figure
from unroll.errors import DataError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Curve:
    """One scalar of one run."""

    steps: list[int]  # optimiser steps
    values: list[float]


def read_curves(run_dir: Path, names: Sequence[str]) -> dict[str, Curve]:
    """Return the curves of a run by name, in the order of `names`.

    Raises:
        DataError: the folder is no run directory, or has no such curve.
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


def draw(runs: dict[str, dict[str, Curve]]) -> Figure:
    """Draw one plot a scalar, one line in it a run. The scale is logarithmic from a hundredfold range on."""
    scalars = list(next(iter(runs.values())))
    texts, families = drawable([*runs, *scalars], longest=90)
    figure = new_figure(6, 0.6 + 2.2 * len(scalars))
    for axes, name, label in zip(
        figure.subplots(len(scalars), 1, sharex=True, squeeze=False)[:, 0], scalars, texts[len(runs) :], strict=True
    ):
        for curve in (curves[name] for curves in runs.values()):
            axes.plot(curve.steps, curve.values, linewidth=1.2, marker="." if len(curve.steps) < 10 else None)
        values = [value for curves in runs.values() for value in curves[name].values]
        if min(values) > 0 and max(values) > 100 * min(values):
            axes.set_yscale("log")
        axes.set_ylabel(label, family=families)
        axes.grid(alpha=0.3)
    axes.set(xlabel="optimiser steps")
    figure.axes[0].legend(figure.axes[0].lines, texts[: len(runs)], prop={"family": families, "size": 8})
    return figure
