"""What is set for a whole process: how threads wait, how many compute, and what memory and kernels are kept.

Commands call `configure` before they import torch. Importing a room of the package sets nothing.
"""

from __future__ import annotations

import ctypes
import os
import sys
import time
from contextlib import suppress
from pathlib import Path

_QUOTA = Path("/sys/fs/cgroup/cpu.max")  # what a container may use of Linux: microseconds in a period, or "max"
_LOAD = Path("/proc/loadavg")  # its fourth entry begins with how many threads run now

# How long OpenMP's idle threads spin before they sleep, in rounds. By default about a millisecond.
_SPIN, _SHORT, _NOT_AT_ALL = "GOMP_SPINCOUNT", "1000", "0"

# Of mallopt(3): its parameters, and what they are set to, in bytes.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
_ALL, _AT_LEAST = 2**30, 2**26


def configure(threads: int | None = None, full_windows: bool = False) -> None:
    """Prepare this process for training, and load torch. What the environment says already stays. Without this, reviews
    train at 0.6 to 0.8 of the speed, and the novel at 0.85 (measured on two cores).

    - OpenMP: idle threads sleep soon, so that the workers of `encoders/parallel.py` get their cores. This counts only
      before torch is loaded; without it documents are not split over the cores. With `full_windows`, as in language
      modelling, threads that meet at every step are 1.07 times as fast if they spin; but beside a busy process they
      sleep at once, and are 1.5 to 1.8 times as fast.
    - glibc keeps freed memory. By itself it gives tensors back to the system and asks for them anew each step, which
      takes a page fault for every 4 KiB: a sixth of a step's time.
    - oneDNN compiles an LSTM's kernels for each shape that it meets, in a millisecond each. It keeps 256 of them, those
      of a training run, and not 1,024: half a gigabyte for the lengths of IMDb reviews.
    - torch computes on `threads`; None is one for each core that the process may use.
    """
    if "torch" not in sys.modules:
        if not full_windows:
            os.environ.setdefault(_SPIN, _SHORT)
        elif not has_room_for(threads or usable_cores()):
            os.environ.setdefault(_SPIN, _NOT_AT_ALL)
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "256")
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            mallopt = ctypes.CDLL(None).mallopt
            for parameter, value in ((_MMAP_THRESHOLD, _ALL), (_TRIM_THRESHOLD, _ALL), (_TOP_PAD, _AT_LEAST)):
                mallopt(parameter, value)
    import torch

    # torch knows the environment's number, and that of the machine's cores; a container may have fewer.
    torch.set_num_threads(threads or min(torch.get_num_threads(), usable_cores()))


def has_room_for(threads: int) -> bool:
    """Return whether so many threads have cores of their own beside what other processes compute now, as far as Linux
    tells."""
    running = []
    for _ in range(9):
        try:
            running.append(int(_LOAD.read_text().split()[3].partition("/")[0]))
        except (OSError, ValueError, IndexError):
            return True
        time.sleep(0.005)
    return sorted(running)[4] - 1 + threads <= (os.cpu_count() or 1)  # this process is one of those that run


def threads_sleep_soon() -> bool:
    """Return whether OpenMP's idle threads leave their cores at once, as `configure` has them do."""
    return sys.platform == "linux" and os.environ.get(_SPIN, "") in (_SHORT, _NOT_AT_ALL)


def usable_cores() -> int:
    """Return how many cores this process may use: those it may run on, and no more than its container's share."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = _QUOTA.read_text().split()
        share = max(1, round(int(quota) / int(period)))
    except (OSError, ValueError):  # no such file, or no limit
        return cores
    return min(cores, share)
