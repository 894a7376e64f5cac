"""`python scripts/serve.py …` is `unroll serve …`."""

import sys

from unroll.cli import main

if __name__ == "__main__":
    sys.exit(main(["serve", *sys.argv[1:]]))
