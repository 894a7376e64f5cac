"""Where the command `unroll` and `python -m unroll` begin."""

from __future__ import annotations

import gc
import signal
import sys

from unroll.interrupt import end


def main() -> int:
    """Run the command that the arguments name, and return the exit code; see `unroll.cli.run`."""
    signal.signal(signal.SIGINT, end)  # before the imports, which would end in a traceback
    gc.set_threshold(50_000)  # of 700: imports make many objects and no garbage, and to look takes a fifth of their time
    from unroll import cli

    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
