"""Data and training runs of the library, as the tables use them, in this process or in one of its own."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback
from rich.console import Console

from benchmarks.request import TRAIN, AnyConfig, Settings
from unroll.config import ClassificationConfig, LanguageModelingConfig
from unroll.corpora.files import TextFile
from unroll.errors import UserError
from unroll.tasks.classification_data import ClassificationData, corpus_of
from unroll.tasks.language_modeling_data import LanguageModelingData
from unroll.tasks.spec import load_data
from unroll.training.run import Run


def load_reviews(config: ClassificationConfig) -> ClassificationData:
    """Return the labelled documents that the settings name."""
    data: ClassificationData = load_data(config)
    return data


def load_novel(config: LanguageModelingConfig) -> LanguageModelingData:
    """Return the text that the settings name."""
    data: LanguageModelingData = load_data(config)
    return data


def training_file(config: ClassificationConfig) -> TextFile:
    """Return the file of the training reviews."""
    return corpus_of(config.data).train


def device_of(config: AnyConfig) -> torch.device:
    """Return where a run with these settings computes; the CPU, unless they name another device."""
    return torch.device("cuda" if config.trainer.accelerator == "cuda" else "cpu")


def fit(config: AnyConfig, data: Any, *callbacks: Callback) -> Run:
    """Train as scripts/train.py does, with all that a run shows and keeps, in a temporary folder."""
    with tempfile.TemporaryDirectory() as folder, Path(folder, "screen").open("w") as screen:
        run = Run(config, data, Path(folder), Console(file=screen))
        run.trainer.callbacks.extend(callbacks)  # type: ignore[attr-defined]
        run.trainer.fit(run.module, data)
    return run


@contextmanager
def training_process(settings: Settings, run_dir: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start scripts/train.py. The process is killed where the block ends before it.

    Raises:
        UserError: the process failed; with what it said last.
    """
    command = [sys.executable, str(TRAIN), *settings, f'run_dir="{run_dir}"']
    with tempfile.TemporaryFile("w+") as said:
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=said) as process:
            try:
                yield process
            finally:
                failed = process.poll()
                process.kill()
        if failed:
            said.seek(0)
            last = said.read().strip().rpartition("\n")[2].removeprefix("error: ")
            raise UserError(f"{TRAIN.name} failed: {last or f'exit code {failed}'}")
