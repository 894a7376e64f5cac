"""How long a user waits at the start: imports, the first step of a run, tokenising."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from benchmarks.request import Settings, read
from benchmarks.runs import device_of, training_file, training_process
from benchmarks.table import Bars, Column, Row, Table
from benchmarks.turns import Way, take_turns
from unroll.config import ClassificationConfig
from unroll.corpora.files import read_rows
from unroll.text.tokenized import tokenize

_SHORT = ["trainer.max_steps=2", "checkpoint.every_n_steps=1"]  # a run that saves after its first step


def startup(reviews: Settings, novel: Settings, rounds: int) -> Table:
    """Measure seconds. Everything but tokenising runs in a process of its own.

    Args:
        reviews, novel: settings of the runs.
        rounds: turns to take the median of.

    Returns:
        Rows for imports; for the time from the command until its first line; for that until the first step is done and
        saved, for both tasks, with the reviews' tokens in the cache (warm) or not (cold); and for reading the training
        reviews and cutting them into tokens.
    """
    config = read(reviews)
    with tempfile.TemporaryDirectory() as folder:

        def first_step(turn: int) -> float:
            """Each turn has its own folder for the tokens: the first run of the turn finds none there."""
            return _first_step([*reviews, f'data.folder="{folder}/{turn}"'])

        ways: dict[str, Way] = {
            "import torch": partial(_importing, "torch"),
            "import unroll": partial(_importing, "unroll"),
            "import unroll.encoders": partial(_importing, "unroll.encoders"),
            "first line on screen": _first_line,
            "first step, reviews, cold": first_step,
            "first step, reviews, warm": first_step,
            "first step, novel": partial(_first_step, novel),
            "tokenise the reviews": partial(_tokenising, config),
        }
        figures = take_turns(ways, rounds, warm_up=0)
    rows: list[Row] = [{"what": what, "seconds": statistics.median(seconds)} for what, seconds in figures.items()]
    columns = {"what": Column("from the command, or of the work"), "seconds": Column("seconds", "{:.2f}")}
    caption = (
        f"medians of {rounds} rounds, {device_of(config).type}; a first step counts from the command until the step "
        "is done and saved"
    )
    return Table("startup", caption, columns, rows, bars=(Bars("seconds", {"seconds": "seconds"}),))


def _importing(module: str, turn: int) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", f"import {module}"], check=True)
    return time.perf_counter() - started


def _first_line(turn: int) -> float:
    started = time.perf_counter()
    with subprocess.Popen([sys.executable, "-m", "unroll", "train"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        seconds = time.perf_counter() - started
        process.kill()
    return seconds


def _first_step(settings: Settings, turn: int = 0) -> float:
    """Start a run, wait until it has saved its first step, and end it."""
    with tempfile.TemporaryDirectory() as name:
        run_dir = Path(name, "run")
        saved = run_dir / "checkpoints" / "last.ckpt"
        started = time.perf_counter()
        with training_process([*settings, *_SHORT], run_dir) as process:
            while not saved.exists() and process.poll() is None:
                time.sleep(0.01)
            return time.perf_counter() - started


def _tokenising(config: ClassificationConfig, turn: int) -> float:
    file = training_file(config)
    started = time.perf_counter()
    tokenize(read_rows(file), config.data.tokenizer)
    return time.perf_counter() - started
