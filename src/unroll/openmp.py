"""How many threads compute, and how long OpenMP's idle ones hold their cores before they sleep.

The latter counts when torch is loaded, and not after.

By default they spin for about a millisecond. The shares of rows in `encoders/parallel.py` need those cores; torch's own
kernel over full windows, whose threads meet at every step, runs 1.2 times faster where they spin (measured, LSTM 512).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

_QUOTA = Path("/sys/fs/cgroup/cpu.max")  # what a container may use of Linux: microseconds in a period, or "max"
_SETTING, _SHORT = "GOMP_SPINCOUNT", "1000"


def for_rows_over_cores() -> None:
    """Let idle threads sleep soon, unless the environment says otherwise or torch is there already."""
    if "torch" not in sys.modules:
        os.environ.setdefault(_SETTING, _SHORT)


def for_full_windows() -> None:
    """Take `for_rows_over_cores` back, if torch is not there yet."""
    if "torch" not in sys.modules and os.environ.get(_SETTING) == _SHORT:
        del os.environ[_SETTING]


def usable_cores() -> int:
    """Return how many cores this process may use: those it may run on, and no more than its container's share."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = _QUOTA.read_text().split()
        share = max(1, round(int(quota) / int(period)))
    except (OSError, ValueError):  # no such file, or no limit
        return cores
    return min(cores, share)
