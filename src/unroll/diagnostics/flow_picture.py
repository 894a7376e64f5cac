"""Gradient flows as a picture and as a table."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from unroll.diagnostics.drawing import HEIGHT, WIDTH, drawable, new_figure
from unroll.diagnostics.gradient_flow import Flow
from unroll.durable import write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_table(flows: dict[str, Flow], path: Path) -> None:
    """Write a csv of `model`, `quantity` (input, or hidden state by layer), `lag` (steps) and `norm`."""
    table = io.StringIO()
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(["model", "quantity", "lag", "norm"])
    for name, flow in flows.items():
        quantities = {"input": flow.inputs, **{f"hidden_{k}": norms for k, norms in enumerate(flow.hidden)}}
        for quantity, norms in quantities.items():
            rows.writerows([name, quantity, lag, f"{norm:.6g}"] for lag, norm in enumerate(norms.tolist()))
    write_text(path, table.getvalue())


def draw(flows: dict[str, Flow]) -> Figure:
    """Draw the input's gradient against lag, one line a model, and a map of layer by lag for each that has layers."""
    from matplotlib.colors import LogNorm
    from matplotlib.ticker import LogLocator

    names, families = drawable(flows, longest=100)
    alone = len(flows) == 1
    layered = [(name, flow) for name, flow in zip(names, flows.values(), strict=True) if len(flow.hidden)]
    figure = new_figure() if alone else new_figure(2 * WIDTH, HEIGHT + 0.9 * len(layered))
    ratios = [2.2] + [1.0] * len(layered)
    lines, *maps = figure.subplots(len(ratios), 1, sharex=True, squeeze=False, height_ratios=ratios)[:, 0]
    for flow in flows.values():
        norms = flow.inputs.double().numpy()
        lines.plot(np.where(norms > 0, norms, np.nan))  # zero has no place on this scale
    lines.set(yscale="log", ylabel="at the input")
    lines.set_title("Gradient of the loss at one step: its norm, by lag", fontsize=10)
    lines.grid(alpha=0.3)
    if not alone:
        lines.legend(lines.lines, names, prop={"family": families, "size": 9})
    sizes = np.concatenate([flow.hidden.double().numpy().ravel() for flow in flows.values()])
    sizes = sizes[(sizes > 0) & np.isfinite(sizes)]
    # One scale for all maps, so that they compare; below its end colours stay the same.
    scale = LogNorm(max(sizes.min(), sizes.max() * 1e-12), sizes.max() * (1 + 1e-6)) if len(sizes) else None
    for axes, (name, flow) in zip(maps, layered, strict=True):
        norms = flow.hidden.double().numpy()
        cells = np.ma.masked_where(~(norms > 0), norms)  # zeros stay white
        image = axes.imshow(cells, aspect="auto", origin="lower", norm=scale, cmap="viridis")
        axes.set(ylabel="layer", yticks=range(0, len(norms), 1 + len(norms) // 5))
        title = "at the hidden state" if alone else f"{name}, at the hidden state"
        axes.set_title(title, fontsize=9, loc="left", family=families)
    scales = [lines.yaxis]
    if maps:
        scales.append(figure.colorbar(image, ax=figure.axes if alone else maps).ax.yaxis)
    for axis in scales:
        axis.set_major_locator(LogLocator(numticks=4))
        axis.set_minor_locator(LogLocator(subs=(2, 5)))  # nine a decade take as long to draw as all the rest
    [lines, *maps][-1].set(xlabel="lag (steps before the loss)")
    return figure
