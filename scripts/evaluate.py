"""Figures of a trained model on data, as JSON: `python scripts/evaluate.py CKPT [--data PATH]`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from unroll import cli, runtime


def main() -> None:
    parser = argparse.ArgumentParser(description="Print the model's figures on data as JSON.")
    parser.add_argument("checkpoint", type=Path, metavar="CKPT", help="a best.ckpt or last.ckpt")
    parser.add_argument(
        "--data",
        type=Path,
        metavar="PATH",
        help="a table of text and label, or a folder with SPLIT.*; for a language model any text",
    )
    parser.add_argument("--split", choices=("val", "test"), default="test", help="of the corpus (default: test)")
    parser.add_argument("--dynamic", action="store_true", help="let a language model learn from the text as it goes")
    arguments = parser.parse_args()
    runtime.configure()
    from unroll.inference.evaluate import evaluate

    figures = evaluate(arguments.checkpoint, arguments.data, arguments.split, arguments.dynamic)
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    sys.exit(cli.run(main))
