"""Memory that is freed is kept for the next step."""

from __future__ import annotations

import ctypes
import sys
from contextlib import suppress

# Of mallopt(3): its parameters, and what they are set to, in bytes.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
_ALL, _AT_LEAST = 2**30, 2**26


def keep_freed_memory() -> None:
    """Have glibc keep what is freed. By itself it gives tensors back to the system and asks for them anew each step,
    which takes a page fault for every 4 KiB: a sixth of a step's time. Elsewhere than under glibc nothing changes."""
    if sys.platform != "linux":
        return
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        for parameter, value in ((_MMAP_THRESHOLD, _ALL), (_TRIM_THRESHOLD, _ALL), (_TOP_PAD, _AT_LEAST)):
            mallopt(parameter, value)
