"""`python scripts/export.py …` is `unroll export …`."""

import sys

from unroll.cli import main

if __name__ == "__main__":
    sys.exit(main(["export", *sys.argv[1:]]))
