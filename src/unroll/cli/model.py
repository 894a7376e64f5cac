"""The model that a command is given, loaded with the process prepared for it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from unroll import runtime
from unroll.inference import folder
from unroll.inference.engines import ENGINES


def add_model(options: argparse.ArgumentParser) -> None:
    """Add the argument that names the model."""
    options.add_argument(
        "checkpoint",
        type=Path,
        metavar="MODEL",
        help="a best.ckpt or last.ckpt, a folder that `unroll export` made, or novel: the model that comes with unroll",
    )


def add_engine(options: argparse.ArgumentParser) -> None:
    """Add the option that says what computes."""
    options.add_argument(
        "--engine",
        choices=ENGINES,
        default="auto",
        help="what computes: torch or onnxruntime (default: the faster one)",
    )


def load_model(
    path: Path, command: str | None = None, engine: str = "auto", threads: int | None = None, full_windows: bool = False
) -> Any:
    """Return the model at a path, see `unroll.load`. torch is imported, and given its threads, only where the model
    needs it: that takes seconds."""
    path = folder.found(path)
    if path.is_dir():
        runtime.prepare(full_windows=full_windows)
    else:
        runtime.configure(threads, full_windows=full_windows)
    from unroll.inference.load import load

    model = load(path, command, engine)
    if path.is_dir() and sys.modules.get("torch") is not None:
        runtime.configure(threads, full_windows=full_windows)
    return model
