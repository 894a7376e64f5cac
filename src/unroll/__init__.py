"""Recurrent sequence models, trained end to end: text in, checkpoint out."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

__version__ = "0.1.0"
__all__ = ["__version__", "load"]

# How often an idle OpenMP thread looks for work before it sleeps. By default it holds its core for a millisecond, which
# the threads of encoders/parallel.py need. Read when torch is loaded; an encoder in a process that loaded torch before
# this package does without those threads.
if "torch" not in sys.modules:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")

if TYPE_CHECKING:
    from unroll.inference.load import load


def __getattr__(name: str) -> object:
    """Import `load`, and torch with it, only when it is asked for."""
    if name == "load":
        from unroll.inference.load import load

        return load
    raise AttributeError(f"module 'unroll' has no attribute {name!r}")
