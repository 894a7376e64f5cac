"""`python scripts/predict.py …` is `unroll predict …`."""

import sys

from unroll.cli import main

if __name__ == "__main__":
    sys.exit(main(["predict", *sys.argv[1:]]))
