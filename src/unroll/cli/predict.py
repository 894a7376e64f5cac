"""`unroll predict`: labels of texts by a trained classifier, and pages that explain them.

With `--explain PAGE.html` a page shows what moved the model, or what surprised it where it is a language model.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from unroll.cli.model import add_engine, add_model, load_model
from unroll.cli.screen import on_stderr, parser
from unroll.corpora.files import read_texts
from unroll.errors import ConfigError, UserError
from unroll.shown import shown
from unroll.tasks.spec import TASKS

EXCERPT = 80  # characters of a text that are shown beside its label


def main(arguments: list[str]) -> None:
    """Print a line for each text."""
    options = parser(
        "predict",
        "Print a label and its probability for each text.",
        (
            'best.ckpt "I loved every minute." "Dull, and far too long."',
            "best.ckpt --file reviews.csv --json > answers.jsonl",
            "best.ckpt - < reviews.txt",
            'best.ckpt --explain page.html "I loved every minute, but the sound was dull."',
        ),
    )
    add_model(options)
    options.add_argument("texts", nargs="*", metavar="TEXT", help="a text; - alone reads lines from standard input")
    options.add_argument("--file", type=Path, help="a table with a column `text`, or any other file, a text a line")
    options.add_argument("--json", action="store_true", help="print one JSON object a line")
    options.add_argument(
        "--explain", type=Path, metavar="PAGE.html", help="write a page that shows what moved the model"
    )
    add_engine(options)
    given = options.parse_intermixed_args(arguments)  # options may stand among the texts
    if bool(given.texts) == bool(given.file):
        options.error("give texts, - for standard input, or --file FILE")
    with on_stderr(bars=not sys.stdout.isatty()):
        texts = _texts(given)
        for figures, answer, text, note in (explained if given.explain else predicted)(given, texts):
            excerpt = shown(" ".join(text.split()), longest=EXCERPT)
            print(json.dumps(figures) if given.json else f"{shown(answer)}  {excerpt}{note}")


Answer = tuple[dict[str, Any], str, str, str]  # all figures, those to print, the text's beginning, a note


def predicted(given: argparse.Namespace, texts: Iterable[str]) -> Iterator[Answer]:
    """Ask a classifier about each text."""
    model, beginnings = load_model(given.checkpoint, "predict", given.engine), deque[str]()
    for prediction in model.predict_stream(_noting(texts, beginnings)):
        if not math.isfinite(prediction.probability):
            raise UserError("the model's logits are not finite: its training diverged; use another model")
        yield vars(prediction), prediction.answer, beginnings.popleft(), prediction.note


def explained(given: argparse.Namespace, texts: Iterable[str]) -> Iterator[Answer]:
    """Ask either kind of model about all texts, and write the page. torch computes, as gradients are needed."""
    model = load_model(given.checkpoint, engine="torch")
    from unroll.diagnostics.explain import explain
    from unroll.diagnostics.page import page
    from unroll.durable import write_text

    spec = TASKS[model.config.kind]
    if spec.explain is None:
        raise ConfigError(f"{given.checkpoint}: there is no page for {model.config.kind}; leave --explain out")
    found: list[Any] = explain(spec.load("explain"), model, texts)
    directions = "two directions" if model.model.encoder.num_directions == 2 else "one direction"
    about = f"{given.checkpoint}, {model.config.encoder.cell} encoder of {directions}"
    write_text(given.explain, page(about, found))
    for one in found:
        yield one.figures(), one.answer, one.text[: 4 * EXCERPT], one.note


def _texts(given: argparse.Namespace) -> Iterable[str]:
    if given.file:
        return read_texts(given.file)
    if given.texts == ["-"]:
        lines = io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8-sig", errors="replace", newline="\n")
        return (line.removesuffix("\n").removesuffix("\r") for line in lines)
    # The shell's bytes that are no UTF-8 arrive as lone surrogates.
    return [text.encode(errors="surrogateescape").decode(errors="replace") for text in given.texts]


def _noting(texts: Iterable[str], beginnings: deque[str]) -> Iterable[str]:
    """Pass the texts on, and keep their beginnings until they are printed."""
    for text in texts:
        beginnings.append(text[: 4 * EXCERPT])
        yield text
