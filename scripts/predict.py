"""Ask a trained classifier about texts: `python scripts/predict.py CKPT "some text" …`, `--file FILE`, or `-`."""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections import deque
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from unroll import cli
from unroll.corpora.files import read_texts

EXCERPT = 80  # characters of a text that are shown beside its label


def main() -> None:
    parser = argparse.ArgumentParser(description="Print a label and its probability for each text.")
    parser.add_argument("checkpoint", type=Path, metavar="CKPT", help="a best.ckpt or last.ckpt")
    parser.add_argument("texts", nargs="*", metavar="TEXT", help="a text; - alone reads lines from standard input")
    parser.add_argument("--file", type=Path, help="a table with a column `text`, or any other file, a text a line")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    arguments = parser.parse_intermixed_args()  # options may stand among the texts
    if bool(arguments.texts) == bool(arguments.file):
        parser.error("give texts, - for standard input, or --file FILE")
    from unroll.inference.load import load_classifier

    model = load_classifier(arguments.checkpoint)
    texts, shown = _texts(arguments), deque[str]()
    for prediction in model.predict_stream(_noting(texts, shown)):
        excerpt = " ".join(shown.popleft().split())
        if arguments.json:
            print(json.dumps(asdict(prediction)))
            continue
        note = "  (no word that the model knows)" if prediction.unknown == prediction.tokens else ""
        excerpt = excerpt if len(excerpt) <= EXCERPT else excerpt[: EXCERPT - 1] + "…"
        width = max(len(label) for label in model.labels)
        print(f"{prediction.label:<{width}}  {prediction.probability:.3f}  {excerpt}{note}")


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
