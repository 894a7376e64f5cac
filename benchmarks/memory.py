"""The peak memory of a piece of work, beyond the memory in use before it; and of another process."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from pathlib import Path

import torch

_CLEAR, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


def peak_memory(work: Callable[[], object], device: torch.device) -> int | None:
    """Do the work, and return its peak memory in bytes: of the device on CUDA, else of the process; None if the system
    does not tell."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    try:
        ctypes.CDLL(None).malloc_trim(0)  # returns free memory to the system, so that the work has to ask for it
        _CLEAR.write_text("5")  # resets the peak (man 5 proc)
        before = _resident("VmRSS")
    except (OSError, AttributeError):  # no Linux, no glibc, or no permission
        work()
        return None
    work()
    return max(0, _resident("VmHWM") - before)


def peak_memory_of(process: int) -> int | None:
    """Return the peak memory in bytes of another process since it began to run its program; None if the system does not
    tell. (`ru_maxrss` would count the process that started it as well.)"""
    try:
        return _resident("VmHWM", Path(f"/proc/{process}/status"))
    except OSError:
        return None


def resident(process: int) -> int:
    """Return the memory in bytes that a process and those that it started have now; 0 if the system does not tell. A
    page that several processes share counts by their shares."""
    try:
        own = _resident("Pss", Path(f"/proc/{process}/smaps_rollup"))
        started = [child for task in Path(f"/proc/{process}/task").iterdir() for child in _children(task)]
    except OSError:
        return 0
    return own + sum(map(resident, started))


def _children(task: Path) -> list[int]:
    return [int(child) for child in (task / "children").read_text().split()]


def _resident(name: str, status: Path = _STATUS) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB", status.read_text(), flags=re.MULTILINE)
    if found is None:
        raise OSError(f"{status} has no {name}")
    return 1024 * int(found[1])
