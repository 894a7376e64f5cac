"""`unroll evaluate`: figures of a trained model on data, as JSON."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from unroll import runtime
from unroll.cli.model import add_engine, add_model
from unroll.cli.screen import on_stderr, parser


def main(arguments: list[str]) -> None:
    """Print the figures."""
    options = parser(
        "evaluate",
        "Print a model's figures on data as JSON.",
        ("best.ckpt", "best.ckpt --data reviews.csv", "novel.ckpt --split val --dynamic", "best.ckpt --mix"),
    )
    add_model(options)
    options.add_argument(
        "--data",
        type=Path,
        metavar="PATH",
        help="a table of texts and labels, or a folder with test.*; for a language model any text "
        "(default: the corpus that the model was trained on)",
    )
    options.add_argument("--split", choices=("val", "test"), default="test", help="part of the corpus (default: test)")
    options.add_argument("--dynamic", action="store_true", help="let a language model learn from the text as it reads")
    options.add_argument(
        "--mix",
        action="store_true",
        help="add the figures of a mixture with counted n-grams of the training data, and of a language model with a "
        "temperature; its weights and the temperature are fitted on validation",
    )
    add_engine(options)
    given: argparse.Namespace = options.parse_args(arguments)
    with on_stderr():
        runtime.configure()
        from unroll.inference.evaluate import evaluate

        figures = evaluate(given.checkpoint, given.data, given.split, given.dynamic, given.mix, given.engine)
    print(json.dumps(figures, indent=2))
