"""`python scripts/sweep.py …` is `unroll sweep …`."""

import sys

from unroll.cli import main

if __name__ == "__main__":
    sys.exit(main(["sweep", *sys.argv[1:]]))
