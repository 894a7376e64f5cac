"""Recurrent sequence models, trained end to end: text in, checkpoint out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unroll import openmp

__version__ = "0.1.0"
__all__ = ["__version__", "load"]

openmp.for_rows_over_cores()

if TYPE_CHECKING:
    from unroll.inference.load import load


def __getattr__(name: str) -> object:
    """Import `load`, and torch with it, only when it is asked for."""
    if name == "load":
        from unroll.inference.load import load

        return load
    raise AttributeError(f"module 'unroll' has no attribute {name!r}")
