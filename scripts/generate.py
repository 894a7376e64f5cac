"""`python scripts/generate.py …` is `unroll generate …`."""

import sys

from unroll.cli import main

if __name__ == "__main__":
    sys.exit(main(["generate", *sys.argv[1:]]))
