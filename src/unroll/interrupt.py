"""Ctrl-C outside of training. It imports next to nothing: commands set it before they import anything else."""

from __future__ import annotations

import os
import sys


def end(number: int, frame: object) -> None:
    """End the process at once, with one line: many libraries swallow a KeyboardInterrupt while they are imported."""
    try:  # noqa: SIM105 - contextlib takes longer to import than all of this
        sys.stdout.flush()
    except (OSError, RuntimeError, ValueError):
        pass  # whoever read it has gone, or it is being written to
    cursor = "\r\x1b[K\x1b[?25h" if os.isatty(2) else ""  # a bar hides it
    os.write(2, f"{cursor}error: interrupted\n".encode())
    os._exit(128 + number)
