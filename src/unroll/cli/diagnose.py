"""`unroll diagnose`: pictures of gradients through time, and curves of several runs."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import Any

from unroll import runtime
from unroll.cli.screen import on_stderr, parser
from unroll.compose import compose
from unroll.corpora.texts import read_text
from unroll.diagnostics.drawing import write_png
from unroll.errors import ConfigError
from unroll.shown import shown
from unroll.tasks.spec import TASKS


def main(arguments: list[str]) -> None:
    """Write the picture that is asked for."""
    options = parser(
        "diagnose",
        "Look inside the recurrence.",
        (
            'gradient-flow best.ckpt "task=imdb encoder=rnn" --text "I loved every minute of this long film."',
            "curves runs/imdb/* --scalar val/accuracy --scalar train/loss",
        ),
    )
    commands = options.add_subparsers(required=True, metavar="COMMAND")
    flow_ = commands.add_parser("gradient-flow", help="how far back through time the gradient reaches, by lag")
    flow_.set_defaults(run=flow)
    flow_.add_argument(
        "models",
        nargs="+",
        metavar="MODEL",
        help="checkpoints, or settings of fresh models in quotes: 'task=mysterious_island encoder=gru'",
    )
    source = flow_.add_mutually_exclusive_group(required=True)
    source.add_argument("--text", help="what is read")
    source.add_argument("--file", type=Path, help="a text file that is read")
    flow_.add_argument("--lags", type=int, default=100, help="steps to look back over (default: 100)")
    flow_.add_argument("--window", type=int, help="cut the gradient every so many steps, as training by windows does")
    flow_.add_argument("--out", type=Path, default=Path("gradient_flow"), help="writes OUT.png and OUT.csv")
    curves_ = commands.add_parser("curves", help="what several runs wrote for TensorBoard, in one picture")
    curves_.set_defaults(run=curves)
    curves_.add_argument("runs", nargs="+", type=Path, metavar="RUN_DIR", help="run directories")
    curves_.add_argument("--scalar", action="append", required=True, help="train/gradient_norm, …; may be repeated")
    curves_.add_argument("--out", type=Path, default=Path("curves"), help="writes OUT.png")
    given = options.parse_args(arguments)
    with on_stderr():
        if given.out.name in ("", ".."):
            raise ConfigError(f"--out {shown(given.out)}: is a folder; name a file in it, without its ending")
        given.run(given)


def flow(arguments: argparse.Namespace) -> None:
    """Print a judgement for each model, and write the picture and the table."""
    for name in ("lags", "window"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise ConfigError(f"--{name} {value}: must be at least 1")
    configs = {name: _config(name) for name in arguments.models if "=" in name and not Path(name).exists()}
    text = arguments.text if arguments.file is None else read_text(arguments.file)[0]
    runtime.configure()
    from unroll.diagnostics import flow_picture
    from unroll.diagnostics.gradient_flow import gradient_flow, judge
    from unroll.diagnostics.probe import probe
    from unroll.inference.load import load

    flows = {}
    for name in arguments.models:
        config = configs.get(name)
        kind = TASKS[config.kind].load("model") if config else load(Path(name), engine="torch")
        if not hasattr(kind, "look_ahead"):
            raise ConfigError(f"{name}: has no loss at a single step; name a classifier or a language model")
        model = kind.untrained(config, text) if config else kind
        model.model.double()  # a gradient that has fallen by 1e-23 is still one
        x, loss = probe(model, text, arguments.lags)
        encoder = model.model.encoder
        if arguments.window and encoder.num_directions == 2:
            raise ConfigError(f"{name}: reads in two directions, and --window needs one; leave --window out")
        flows[name] = gradient_flow(encoder, x, loss, arguments.window)
        cut = ", where the window begins" if arguments.window and not flows[name].inputs.all() else ""
        print(f"{shown(name)}: {judge(flows[name].inputs)}{cut}")
    picture, table = (arguments.out.with_name(arguments.out.name + suffix) for suffix in (".png", ".csv"))
    write_png(flow_picture.draw(flows), picture)
    flow_picture.write_table(flows, table)
    print(shown(f"written: {picture}, {table}"))


def curves(arguments: argparse.Namespace) -> None:
    """Write the picture."""
    from unroll.diagnostics.curves import draw, read_curves

    figure = draw({str(run): read_curves(run, arguments.scalar) for run in arguments.runs})
    picture = arguments.out.with_name(arguments.out.name + ".png")
    write_png(figure, picture)
    print(shown(f"written: {picture}"))


def _config(settings: str) -> Any:
    try:
        words = shlex.split(settings)
    except ValueError as error:
        raise ConfigError(f"can't read the settings '{settings}': {error}; close the quotes") from error
    return compose(words)
