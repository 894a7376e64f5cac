"""Settings of the whole process: how threads wait, how many compute, and how much memory and how many kernels are kept.

Commands call `configure` before they import torch. Importing the package sets nothing.
"""

from __future__ import annotations

import ctypes
import gc
import os
import sys
import time
from contextlib import suppress
from pathlib import Path

_QUOTA = Path("/sys/fs/cgroup/cpu.max")  # a container's share on Linux: microseconds of each period, or "max"
_LOAD = Path("/proc/loadavg")  # its fourth entry begins with the number of threads that run now

# How many rounds OpenMP's idle threads spin before they sleep. By default this is about a millisecond.
_SPIN, _SHORT, _NOT_AT_ALL = "GOMP_SPINCOUNT", "1000", "0"

# Parameters of mallopt(3), and their values in bytes.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
_ALL, _AT_LEAST = 2**30, 2**26


def configure(threads: int | None = None, full_windows: bool = False) -> None:
    """Prepare this process for training, and load torch. Environment variables that are already set stay. Without this,
    reviews train at 0.6 to 0.8 of the speed and the novel at 0.85 (measured on two cores).

    - OpenMP: idle threads sleep soon, so the workers of `encoders/parallel.py` get their cores. This must come before
      torch is loaded; otherwise documents are not split over the cores. With `full_windows`, as in language modelling,
      threads wait for each other at every step, and are 1.07 times as fast if they spin. Beside a busy process they
      sleep at once, and are then 1.5 to 1.8 times as fast.
    - glibc keeps freed memory. By default it returns tensors to the system and requests them again at each step, with a
      page fault for every 4 KiB: a sixth of a step's time.
    - oneDNN compiles an LSTM's kernels for each new shape, in a millisecond each. It keeps 256 of them, enough for a
      training run, instead of 1,024, which would be half a gigabyte for the lengths of IMDb reviews.
    - torch computes with `threads`; None means one for each core that the process may use.
    """
    prepare(threads, full_windows)
    import torch

    # torch's own number comes from the environment or the machine's cores; a container may have fewer.
    torch.set_num_threads(threads or min(torch.get_num_threads(), usable_cores()))


def prepare(threads: int | None = None, full_windows: bool = False) -> None:
    """Do what `configure` does before it loads torch, for a program that may not need it."""
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


def give_back_freed() -> None:
    """Return freed memory to the system, after work that is done once: `configure` lets the process keep it."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)


def collect_rarely() -> None:
    """Let Python's garbage collector leave out all that exists now, and look at what is new rarely: a server's requests
    make many objects that are gone at once. It answers 1.07 times as many requests that way (two cores)."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)


def has_room_for(threads: int) -> bool:
    """Return whether each of `threads` can have a core to itself, beside the threads that other processes run now; True
    where the system does not tell."""
    running = []
    for _ in range(9):
        try:
            running.append(int(_LOAD.read_text().split()[3].partition("/")[0]))
        except (OSError, ValueError, IndexError):
            return True
        time.sleep(0.005)
    return sorted(running)[4] - 1 + threads <= (os.cpu_count() or 1)  # this process is one of them


def threads_sleep_soon() -> bool:
    """Return whether OpenMP's idle threads leave their cores soon, by the setting of `configure`."""
    return sys.platform == "linux" and os.environ.get(_SPIN, "") in (_SHORT, _NOT_AT_ALL)


def usable_cores() -> int:
    """Return how many cores this process may use: its own, but at most its container's share."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = _QUOTA.read_text().split()
        share = max(1, round(int(quota) / int(period)))
    except (OSError, ValueError):  # no such file, or no limit
        return cores
    return min(cores, share)
