"""A table of measurements: on the screen, as JSON, as Markdown, and as a bar chart."""

from __future__ import annotations

import io
import json
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.console import Console
from rich.table import Table as ScreenTable

from unroll import durable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Row = dict[str, Any]

LONGEST_LINE = 60  # characters of a row's name in a picture


class Column(NamedTuple):
    """How the values of one column are shown."""

    heading: str
    format: str = "{}"


class Bars(NamedTuple):
    """One bar chart, with a group of bars for each row."""

    axis: str  # what is measured, with its unit
    values: dict[str, str]  # the columns to draw, and their names in the legend


@dataclass(frozen=True)
class Table:
    """Rows, and how they are shown. A missing value is left blank."""

    name: str
    caption: str  # what was measured, and on what
    columns: dict[str, Column]  # the columns that name a row come first
    rows: list[Row]
    names: int = 1  # how many columns name a row
    bars: tuple[Bars, ...] = ()

    @classmethod
    def load(cls, path: Path) -> Table:
        """Read the JSON of `save`. It has all but the bars."""
        values = json.loads(path.read_text(encoding="utf-8"))
        columns = {name: Column(*column) for name, column in values["columns"].items()}
        return cls(values["table"], values["caption"], columns, values["rows"])

    def show(self, console: Console, as_json: bool) -> None:
        """Print the table, or each row as a JSON object."""
        if as_json:
            for row in self.rows:
                print(json.dumps(row))
            return
        console.print(self.caption, highlight=False, markup=False)
        screen = ScreenTable(*(column.heading for column in self.columns.values()), box=None, padding=(0, 2, 0, 0))
        for name, column in zip(self.columns, screen.columns, strict=True):
            column.justify = "right" if self._has_numbers(name) else "left"
        for row in self.rows:
            screen.add_row(*self._cells(row))
        console.print(screen)

    def markdown(self) -> str:
        """Return the table as Markdown, with its caption below."""
        rules = ("---:" if self._has_numbers(name) else "---" for name in self.columns)
        lines = [
            f"| {' | '.join(column.heading for column in self.columns.values())} |",
            f"|{'|'.join(rules)}|",
            *(f"| {' | '.join(self._cells(row))} |" for row in self.rows),
        ]
        return "\n".join([*lines, "", f"{self.caption}."]) + "\n"

    def json(self) -> str:
        """Return the table as JSON, a line for each row."""
        head = {"table": self.name, "caption": self.caption, "columns": self.columns}
        lines = [f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}," for key, value in head.items()]
        rows = ",\n".join(json.dumps(row, ensure_ascii=False) for row in self.rows)
        return "\n".join(["{", *lines, f'"rows": [\n{rows}\n]', "}"]) + "\n"

    def _has_numbers(self, name: str) -> bool:
        return not any(isinstance(row.get(name), str) for row in self.rows)

    def _cells(self, row: Row) -> list[str]:
        return [self._cell(row, name) for name in self.columns]

    def _cell(self, row: Row, name: str) -> str:
        return "" if row.get(name) is None else self.columns[name].format.format(row[name])

    def save(self, folder: Path) -> Path:
        """Write NAME.json, NAME.md and NAME.png; return the picture's path."""
        durable.write_text(folder / f"{self.name}.json", self.json())
        durable.write_text(folder / f"{self.name}.md", self.markdown())
        picture, path = io.BytesIO(), folder / f"{self.name}.png"
        self.draw().savefig(picture, format="png")
        with durable.replacing(path) as file:
            file.write(picture.getvalue())
        return path

    def draw(self) -> Figure:
        """Draw `bars` side by side, with the rows from top to bottom."""
        from matplotlib.figure import Figure

        labels = [textwrap.fill(" ".join(self._cells(row)[: self.names]), LONGEST_LINE) for row in self.rows]
        lines = max(1 + label.count("\n") for label in labels)
        groups = max(len(bars.values) for bars in self.bars)
        height = 1.3 + len(self.rows) * (0.12 + max(0.2 * groups, 0.17 * lines))
        longest = max(len(line) for label in labels for line in label.splitlines())
        names = max(4.2, 1.5 + 0.08 * longest)  # inches for the rows' names
        figure = Figure(figsize=(names + 3.8 * len(self.bars), height), dpi=110, layout="constrained")
        plots = figure.subplots(1, len(self.bars), sharey=True, squeeze=False)[0]
        for axes, bars in zip(plots, self.bars, strict=True):
            thickness = 0.8 / len(bars.values)
            for k, (column, name) in enumerate(bars.values.items()):
                places = [place + (k - (len(bars.values) - 1) / 2) * thickness for place in range(len(labels))]
                drawn = axes.barh(places, [row.get(column) or 0 for row in self.rows], thickness, label=name)
                axes.bar_label(drawn, [self._cell(row, column) for row in self.rows], padding=3, fontsize=8)
            values = [row[column] for row in self.rows for column in bars.values if row.get(column)]
            if values and 0 < 50 * min(values) < max(values):
                axes.set_xscale("log")
                axes.set_xlim(right=max(values) * 8)
            else:
                axes.set_xlim(0, 1.25 * max(values, default=1))
            axes.set(xlabel=bars.axis, yticks=range(len(labels)), yticklabels=labels)
            axes.grid(axis="x", alpha=0.3)
            axes.set_axisbelow(True)
            if len(bars.values) > 1:
                # Above the bars: within, it may cover one.
                axes.legend(fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncols=len(bars.values), frameon=False)
            if axes.get_xscale() == "linear" and max(values, default=0) >= 1000:
                axes.xaxis.set_major_formatter("{x:,.0f}")
            if all(self.columns[column].format.endswith("%}") for column in bars.values):
                axes.xaxis.set_major_formatter("{x:.0%}")
        plots[0].set_ylim(len(labels) - 0.4, -0.6)
        return figure
