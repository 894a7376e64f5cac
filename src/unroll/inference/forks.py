"""Use of a model in a forked process."""

import os
import sys

_PROCESS = os.getpid()  # a forked process keeps the number of its parent here; a spawned one has its own


def is_forked() -> bool:
    """Return whether this process is a fork of the one that imported this module."""
    return os.getpid() != _PROCESS


def compute_alone_after_fork() -> None:
    """In a forked process, have torch, if it is used, compute on one thread. The threads of OpenMP stay in the parent,
    and a child that shares work with them waits for ever."""
    torch = sys.modules.get("torch")
    if is_forked() and torch is not None:
        torch.set_num_threads(1)
