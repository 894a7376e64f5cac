"""Where the command `unroll` and `python -m unroll` begin."""

from __future__ import annotations

import signal
import sys

from unroll.interrupt import end


def main() -> int:
    """Run the command that the arguments name, and return the exit code; see `unroll.cli.run`."""
    signal.signal(signal.SIGINT, end)  # before the imports, which would end in a traceback
    from unroll import cli

    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
