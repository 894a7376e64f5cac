"""Gradient flows as a picture and as a table."""

from __future__ import annotations

import csv
import io
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from unroll.diagnostics.curves import literal
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
    """Draw the input's gradient against lag, one line a model, and a map of layer by lag for each."""
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator

    height = 3.6 + 1.1 * len(flows)
    figure = Figure(figsize=(9, height), dpi=110)
    # Placed by hand: to find a layout takes as long as to draw.
    grid = figure.add_gridspec(
        1 + len(flows),
        2,
        width_ratios=[50, 1],
        height_ratios=[3.2] + [1.0] * len(flows),
        left=0.09,
        right=0.92,
        top=1 - 0.35 / height,
        bottom=0.55 / height,
        hspace=0.35,
        wspace=0.06,
    )
    lines = figure.add_subplot(grid[0, 0])
    maps = [figure.add_subplot(grid[1 + row, 0], sharex=lines) for row in range(len(flows))]
    for axes in (lines, *maps[:-1]):
        axes.tick_params(labelbottom=False)
    for name, flow in flows.items():
        norms = flow.inputs.double().numpy()
        lines.plot(np.where(norms > 0, norms, np.nan), label=literal(name))  # zero has no place on this scale
    lines.set(yscale="log", ylabel="norm, input's gradient", title="Gradient of the loss at one step, by lag")
    lines.grid(alpha=0.3)
    lines.legend(fontsize=9)
    sizes = np.concatenate([flow.hidden.double().numpy().ravel() for flow in flows.values()])
    sizes = sizes[(sizes > 0) & np.isfinite(sizes)]
    # One scale for all maps, so that they compare; below its end colours stay the same.
    scale = LogNorm(max(sizes.min(), sizes.max() * 1e-12), sizes.max() * (1 + 1e-6)) if len(sizes) else None
    for axes, (name, flow) in zip(maps, flows.items(), strict=True):
        norms = flow.hidden.double().numpy()
        cells = np.ma.masked_where(~(norms > 0), norms)  # zeros stay white
        image = axes.imshow(cells, aspect="auto", origin="lower", norm=scale, cmap="viridis")
        axes.set(ylabel="layer", yticks=range(len(norms)))
        axes.set_title(literal(textwrap.fill(name, 120)), fontsize=9, loc="left")
    label = "norm, hidden state's gradient" if len(maps) > 1 else "norm"
    bar = figure.colorbar(image, cax=figure.add_subplot(grid[1:, 1]), label=label)
    for axis in (lines.yaxis, bar.ax.yaxis):
        axis.set_minor_locator(LogLocator(subs=(2, 5)))  # nine a decade take as long to draw as all the rest
    maps[-1].set(xlabel="lag (steps before the loss)")
    return figure
