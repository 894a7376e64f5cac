"""Ask a trained classifier about texts: `python scripts/predict.py CKPT "some text" …`, `--file FILE`, or `-`.

With `--explain PAGE.html` a page shows what moved it; a language model is asked as well, for what surprised it.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from unroll import cli, runtime
from unroll.corpora.files import read_texts
from unroll.errors import ConfigError
from unroll.tasks.spec import TASKS

EXCERPT = 80  # characters of a text that are shown beside its label


def main() -> None:
    parser = argparse.ArgumentParser(description="Print a label and its probability for each text.")
    parser.add_argument("checkpoint", type=Path, metavar="CKPT", help="a best.ckpt or last.ckpt")
    parser.add_argument("texts", nargs="*", metavar="TEXT", help="a text; - alone reads lines from standard input")
    parser.add_argument("--file", type=Path, help="a table with a column `text`, or any other file, a text a line")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument(
        "--explain", type=Path, metavar="PAGE.html", help="write a page that shows what moved the model"
    )
    arguments = parser.parse_intermixed_args()  # options may stand among the texts
    if bool(arguments.texts) == bool(arguments.file):
        parser.error("give texts, - for standard input, or --file FILE")
    runtime.configure()
    texts = _texts(arguments)
    for figures, answer, text, note in (explained if arguments.explain else predicted)(arguments, texts):
        excerpt = " ".join(text.split())
        excerpt = excerpt if len(excerpt) <= EXCERPT else excerpt[: EXCERPT - 1] + "…"
        print(json.dumps(figures) if arguments.json else f"{answer}  {excerpt}{note}")


Answer = tuple[dict[str, Any], str, str, str]  # all figures, those to print, the text's beginning, a note


def predicted(arguments: argparse.Namespace, texts: Iterable[str]) -> Iterator[Answer]:
    """Ask a classifier about each text."""
    from unroll.inference.load import load

    model, shown = load(arguments.checkpoint, "predict"), deque[str]()
    for prediction in model.predict_stream(_noting(texts, shown)):
        yield vars(prediction), prediction.answer, shown.popleft(), prediction.note


def explained(arguments: argparse.Namespace, texts: Iterable[str]) -> Iterator[Answer]:
    """Ask either kind of model about all texts, and write the page."""
    from unroll.diagnostics.explain import explain
    from unroll.diagnostics.page import page
    from unroll.durable import write_text
    from unroll.inference.load import load

    model = load(arguments.checkpoint)
    spec = TASKS[model.config.kind]
    if spec.explain is None:
        raise ConfigError(f"{arguments.checkpoint}: there is no page for {model.config.kind}; leave --explain out")
    found: list[Any] = explain(spec.load("explain"), model, texts)
    directions = "two directions" if model.model.encoder.num_directions == 2 else "one direction"
    about = f"{arguments.checkpoint}, {model.config.encoder.cell} encoder of {directions}"
    write_text(arguments.explain, page(about, found))
    for one in found:
        yield one.figures(), one.answer, one.text[: 4 * EXCERPT], one.note


def _texts(arguments: argparse.Namespace) -> Iterable[str]:
    if arguments.file:
        return read_texts(arguments.file)
    if arguments.texts == ["-"]:
        lines = io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8-sig", errors="replace", newline="\n")
        return (line.removesuffix("\n").removesuffix("\r") for line in lines)
    # The shell's bytes that are no UTF-8 arrive as lone surrogates.
    return [text.encode(errors="surrogateescape").decode(errors="replace") for text in arguments.texts]


def _noting(texts: Iterable[str], shown: deque[str]) -> Iterable[str]:
    """Pass the texts on, and keep their beginnings until they are printed."""
    for text in texts:
        shown.append(text[: 4 * EXCERPT])
        yield text


if __name__ == "__main__":
    sys.exit(cli.run(main))
