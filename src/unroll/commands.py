"""The commands, and how one is typed in the shell that the user has."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from pathlib import Path

COMMANDS = {
    "train": "train a model, or resume a run",
    "sweep": "search for the best settings: many runs, by one or more workers",
    "evaluate": "print a model's figures on data",
    "predict": "label texts with a classifier",
    "generate": "write text with a language model",
    "export": "write a trained model to a folder for other programs",
    "serve": "answer requests with a model, and show a page to try it",
    "diagnose": "look inside the recurrence",
}


def typed(command: str, *arguments: object) -> str:
    """Return a command line that works when it is pasted: quoted, with the program or the interpreter that is there.

    >>> typed("predict", "my run/best.ckpt").endswith("predict 'my run/best.ckpt'")
    True
    """
    return f"{_program()} {shlex.join([command, *map(str, arguments)])}"


def quoted(value: object) -> str:
    """Return the value of a setting as Hydra reads it: in quotes where it has other than plain characters."""
    text = str(value)
    return text if re.fullmatch(r"[\w./-]+", text, re.ASCII) else "'" + text.replace("'", "\\'") + "'"


def resuming(run_dir: object) -> str:
    """Return the command line that resumes a run.

    >>> shlex.split(resuming("runs/01_seed=0"))[-2:]
    ['train', "resume='runs/01_seed=0'"]
    """
    return typed("train", f"resume={quoted(run_dir)}")


def _program() -> str:
    own = Path(sys.executable).parent / "unroll"
    found = shutil.which("unroll")
    if found is not None and own.exists() and os.path.samefile(found, own):
        return "unroll"
    python = shutil.which("python")
    if python is not None and os.path.samefile(python, sys.executable) and Path(python).parent == own.parent:
        return "python -m unroll"
    beside = os.path.relpath(sys.executable)
    return f"{shlex.quote(min(sys.executable, beside, key=len))} -m unroll"
