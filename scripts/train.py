"""`python scripts/train.py …` is `unroll train …`."""

import sys

from unroll.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
