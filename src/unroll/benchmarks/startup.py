"""How long a user waits before anything happens: imports, the first step of a run, tokenising."""

from __future__ import annotations

import dataclasses
import json
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from unroll.benchmarks.table import Bars, Row, Table
from unroll.benchmarks.turns import AnyConfig, Way, device_of, take_turns
from unroll.config import ClassificationConfig, LanguageModelingConfig
from unroll.corpora.files import read_rows
from unroll.corpora.imdb import find_corpus
from unroll.errors import UserError
from unroll.text.tokenized import tokenize

_SHORT = ["trainer.max_steps=2", "checkpoint.every_n_steps=1"]  # a run that saves where its second step begins


def startup(script: Path, reviews: ClassificationConfig, novel: LanguageModelingConfig, rounds: int) -> Table:
    """Measure seconds, each in a process of its own but for tokenising.

    Args:
        script: scripts/train.py.
        reviews, novel: whose data the runs read.
        rounds: turns that are counted.

    Returns:
        A row each: importing; from the command to the first step, done and saved, of either task, with the reviews'
        tokens in the cache (warm) or not (cold); reading and tokenising the training reviews.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def first_step(turn: int) -> float:
            """The tokens are kept in a folder for each turn: who comes first finds nothing there."""
            data = dataclasses.replace(reviews.data, folder=str(folder / str(turn)))
            return _first_step(script, folder, dataclasses.replace(reviews, data=data))

        ways: dict[str, Way] = {
            "import torch": partial(_importing, "torch"),
            "import unroll": partial(_importing, "unroll"),
            "import unroll.encoders": partial(_importing, "unroll.encoders"),
            "first step, reviews, cold": first_step,
            "first step, reviews, warm": first_step,
            "first step, novel": partial(_first_step, script, folder, novel),
            "tokenise the reviews": partial(_tokenising, reviews),
        }
        figures = take_turns(ways, rounds, warm_up=0)
    rows: list[Row] = [{"what": what, "seconds": statistics.median(seconds)} for what, seconds in figures.items()]
    columns = {"what": ("", "{}"), "seconds": ("seconds", "{:.2f}")}
    caption = (
        f"medians of {rounds} rounds, {device_of(reviews).type}; a first step counts from the command until the step "
        "is done and saved"
    )
    return Table("startup", caption, columns, rows, 1, (Bars("seconds", {"seconds": "seconds"}),))


def _importing(module: str, turn: int) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", f"import {module}"], check=True)
    return time.perf_counter() - started


def _first_step(script: Path, folder: Path, config: AnyConfig, turn: int = 0) -> float:
    """Start a run that saves after its first step, wait for that, and end it."""
    data = config.data
    places = {"source": data.source, "path": data.path, "folder": data.folder}
    settings = [f"data.{key}={json.dumps(value)}" for key, value in places.items() if value is not None]
    settings.append(f"trainer.accelerator={config.trainer.accelerator}")
    with tempfile.TemporaryDirectory(dir=folder) as name:
        run_dir = Path(name, "run")
        saved = run_dir / "checkpoints" / "last.ckpt"
        command = [sys.executable, str(script), f"task={config.task}", *settings, f"run_dir={run_dir}", *_SHORT]
        started = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as run:
            while not saved.exists() and run.poll() is None:
                time.sleep(0.01)
            seconds = time.perf_counter() - started
            run.kill()
            _, said = run.communicate()
        if not saved.exists():
            raise UserError(f"{script} failed: {said.strip().splitlines()[-1] if said.strip() else 'without a word'}")
        return seconds


def _tokenising(config: ClassificationConfig, turn: int) -> float:
    path = Path(config.data.path) if config.data.path else None
    corpus = find_corpus(config.data.source, path, Path(config.data.folder))
    started = time.perf_counter()
    tokenize(read_rows(corpus.train), config.data.tokenizer)
    return time.perf_counter() - started
