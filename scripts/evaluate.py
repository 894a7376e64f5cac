"""Figures of a trained model on labelled texts, as JSON: `python scripts/evaluate.py CKPT [--data PATH]`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import unroll
from unroll import cli


def main() -> None:
    parser = argparse.ArgumentParser(description="Print the model's figures on labelled texts as JSON.")
    parser.add_argument("checkpoint", type=Path, metavar="CKPT", help="a best.ckpt or last.ckpt")
    parser.add_argument("--data", type=Path, metavar="PATH", help="a table of text and label, or a folder with SPLIT.*")
    parser.add_argument("--split", choices=("val", "test"), default="test", help="of the corpus (default: test)")
    arguments = parser.parse_args()
    from unroll.inference.evaluate import evaluate

    print(json.dumps(evaluate(unroll.load(arguments.checkpoint), arguments.data, arguments.split), indent=2))


if __name__ == "__main__":
    sys.exit(cli.run(main))
