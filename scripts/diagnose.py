"""Look inside the recurrence: `python scripts/diagnose.py textbook`, `gradient-flow MODEL … --text "some text"`,
or `curves RUN_DIR … --scalar train/gradient_norm`."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from unroll import cli
from unroll.compose import compose
from unroll.config import ClassificationConfig, LanguageModelingConfig
from unroll.corpora.novel import read_text
from unroll.durable import replacing
from unroll.errors import ConfigError, UserError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CONF = Path(__file__).resolve().parent.parent / "conf"


def main() -> None:
    parser = argparse.ArgumentParser(description="Check and look into recurrences.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    textbook_ = commands.add_parser("textbook", help="recompute published figures by four ways, and compare")
    textbook_.set_defaults(run=textbook)
    flow = commands.add_parser("gradient-flow", help="how far back through time the gradient reaches, by lag")
    flow.set_defaults(run=gradient_flow)
    flow.add_argument(
        "models",
        nargs="+",
        metavar="MODEL",
        help="checkpoints, or settings of fresh models in quotes: 'task=mysterious_island encoder=gru'",
    )
    source = flow.add_mutually_exclusive_group(required=True)
    source.add_argument("--text", help="what is read")
    source.add_argument("--file", type=Path, help="a text file that is read")
    flow.add_argument("--lags", type=int, default=100, help="steps to look back over (default: 100)")
    flow.add_argument("--window", type=int, help="cut the gradient every so many steps, as training by windows does")
    flow.add_argument("--out", type=Path, default=Path("gradient_flow"), help="writes OUT.png and OUT.csv")
    curves_ = commands.add_parser("curves", help="what several runs wrote for TensorBoard, in one picture")
    curves_.set_defaults(run=curves)
    curves_.add_argument("runs", nargs="+", type=Path, metavar="RUN_DIR", help="run directories")
    curves_.add_argument("--scalar", action="append", required=True, help="train/gradient_norm, …; may be repeated")
    curves_.add_argument("--out", type=Path, default=Path("curves"), help="writes OUT.png")
    arguments = parser.parse_args()
    arguments.run(arguments)


def gradient_flow(arguments: argparse.Namespace) -> None:
    """Print a judgement for each model, and write the picture and the table."""
    for name in ("lags", "window"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise ConfigError(f"--{name} {value}: must be at least 1")
    configs = {name: _config(name) for name in arguments.models if "=" in name}
    text = arguments.text if arguments.file is None else read_text(arguments.file)[0]
    from unroll.diagnostics import flow_picture, gradient_flow, probe
    from unroll.inference.load import load

    flows = {}
    for name in arguments.models:
        model = probe.untrained(configs[name], text) if name in configs else load(Path(name))
        model.model.double()  # a gradient that has fallen by 1e-23 is still one
        seen = probe.probe_text(model, text, arguments.lags)
        if arguments.window and seen.encoder.bidirectional:
            raise ConfigError(f"{name}: reads in two directions, and --window needs one; leave --window out")
        parameters = dict(seen.encoder.named_parameters())
        flows[name] = gradient_flow.gradient_flow(seen.encoder.cell, parameters, seen.x, seen.loss, arguments.window)
        cut = ", where the window begins" if arguments.window and not flows[name].inputs.all() else ""
        print(f"{name}: {gradient_flow.judge(flows[name].inputs)}{cut}")
    picture, table = (arguments.out.with_name(arguments.out.name + suffix) for suffix in (".png", ".csv"))
    write_png(flow_picture.draw(flows), picture)
    flow_picture.write_table(flows, table)
    print(f"written: {picture}, {table}")


def curves(arguments: argparse.Namespace) -> None:
    """Write the picture."""
    from unroll.diagnostics.curves import draw, read_curves

    figure = draw({str(run): read_curves(run, arguments.scalar) for run in arguments.runs})
    picture = arguments.out.with_name(arguments.out.name + ".png")
    write_png(figure, picture)
    print(f"written: {picture}")


def write_png(figure: Figure, path: Path) -> None:
    with replacing(path) as file:
        figure.savefig(file, format="png")


def _config(settings: str) -> ClassificationConfig | LanguageModelingConfig:
    try:
        words = shlex.split(settings)
    except ValueError as error:
        raise ConfigError(f"can't read the settings '{settings}': {error}; close the quotes") from error
    return compose(CONF, words)


def textbook(arguments: argparse.Namespace) -> None:
    """Print a line for each case and quantity, and fail where one is beyond the published rounding."""
    from unroll.diagnostics.textbook import compare, found_slips, published

    figures = published()
    comparisons = list(compare(figures))
    ways = list(dict.fromkeys(comparison.way for comparison in comparisons))
    table = Table("case", "quantity", *ways, "allowed", "", box=None, padding=(0, 2, 0, 0))
    for column in table.columns[2:-1]:
        column.justify = "right"
    for case, quantity in dict.fromkeys((comparison.case, comparison.quantity) for comparison in comparisons):
        row = {c.way: c for c in comparisons if (c.case, c.quantity) == (case, quantity)}
        some = next(iter(row.values()))
        cells = [f"{row[way].difference:.0e}" if way in row else "" for way in ways]
        verdict = "ok" if all(comparison.passed for comparison in row.values()) else "DIFFERS"
        table.add_row(case, quantity, *cells, f"{some.allowed:.0e}", verdict)
    console = Console()
    console.width = max(console.width, 120)  # lines of figures do not fold
    console.print(table)
    for quantity, slip in found_slips(figures):
        console.print(f"published as wrong, {quantity}: {slip}", highlight=False)
    failed = [comparison for comparison in comparisons if not comparison.passed]
    if failed:
        worst = max(failed, key=lambda comparison: comparison.difference)
        raise UserError(
            f"{len(failed)} of {len(comparisons)} figures differ, most of all {worst.quantity} of {worst.case} by "
            f"{worst.way}; see the table"
        )
    console.print(f"{len(comparisons)} figures agree to the digits published", highlight=False)


if __name__ == "__main__":
    sys.exit(cli.run(main))
