"""`python scripts/diagnose.py …` is `unroll diagnose …`."""

import sys

from unroll.cli import main

if __name__ == "__main__":
    sys.exit(main(["diagnose", *sys.argv[1:]]))
