"""How long OpenMP's idle threads hold their cores before they sleep. It counts when torch is loaded, and not after.

By default they spin for about a millisecond. The shares of rows in `encoders/parallel.py` need those cores; torch's own
kernel over full windows, whose threads meet at every step, runs 1.2 times faster where they spin (measured, LSTM 512).
"""

from __future__ import annotations

import os
import sys

_SETTING, _SHORT = "GOMP_SPINCOUNT", "1000"


def for_rows_over_cores() -> None:
    """Let idle threads sleep soon, unless the environment says otherwise or torch is there already."""
    if "torch" not in sys.modules:
        os.environ.setdefault(_SETTING, _SHORT)


def for_full_windows() -> None:
    """Take `for_rows_over_cores` back, if torch is not there yet."""
    if "torch" not in sys.modules and os.environ.get(_SETTING) == _SHORT:
        del os.environ[_SETTING]
