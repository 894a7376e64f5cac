"""Use of a model in a forked process."""

import os

import torch

_PROCESS = os.getpid()  # a forked process keeps the number of its parent here; a spawned one has its own


def compute_alone_after_fork() -> None:
    """In a forked process, have torch compute on one thread. The threads of OpenMP stay in the parent, and a child
    that shares work with them waits for ever."""
    if os.getpid() != _PROCESS:
        torch.set_num_threads(1)
