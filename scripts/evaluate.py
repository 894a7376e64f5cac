"""`python scripts/evaluate.py …` is `unroll evaluate …`."""

import sys

from unroll.cli import main

if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:]]))
