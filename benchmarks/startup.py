"""How long a user waits before anything happens: imports, the first step of a run, tokenising."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from benchmarks.request import Settings, read_reviews
from benchmarks.runs import device_of, training_file, training_process
from benchmarks.table import Bars, Column, Row, Table
from benchmarks.turns import Way, take_turns
from unroll.config import ClassificationConfig
from unroll.corpora.files import read_rows
from unroll.text.tokenized import tokenize

_SHORT = ["trainer.max_steps=2", "checkpoint.every_n_steps=1"]  # a run that saves where its second step begins


def startup(reviews: Settings, novel: Settings, rounds: int) -> Table:
    """Measure seconds, each in a process of its own but for tokenising.

    Args:
        reviews, novel: settings of the runs.
        rounds: turns that are counted.

    Returns:
        A row each: importing; from the command to the first step, done and saved, of either task, with the reviews'
        tokens in the cache (warm) or not (cold); reading and tokenising the training reviews.
    """
    config = read_reviews(reviews)
    with tempfile.TemporaryDirectory() as folder:

        def first_step(turn: int) -> float:
            """The tokens are kept in a folder for each turn: the first run of a turn finds nothing there."""
            return _first_step([*reviews, f'data.folder="{folder}/{turn}"'])

        ways: dict[str, Way] = {
            "import torch": partial(_importing, "torch"),
            "import unroll": partial(_importing, "unroll"),
            "import unroll.encoders": partial(_importing, "unroll.encoders"),
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


def _first_step(settings: Settings, turn: int = 0) -> float:
    """Start a run that saves after its first step, wait for that, and end it."""
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
