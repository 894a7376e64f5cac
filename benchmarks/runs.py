"""Training runs for the tables, in this process or in another."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from benchmarks.request import TRAIN, AnyConfig, Settings
from unroll.config import ClassificationConfig
from unroll.corpora.files import TextFile
from unroll.errors import UserError
from unroll.tasks.documents import corpus_of
from unroll.tasks.module import TaskModule
from unroll.training.run import Run


def training_file(config: ClassificationConfig) -> TextFile:
    """Return the file of the training reviews."""
    return corpus_of(config.data).train


def device_of(config: AnyConfig) -> torch.device:
    """Return the device of a run: the CPU, unless the settings say CUDA."""
    return torch.device("cuda" if config.trainer.accelerator == "cuda" else "cpu")


def fit(config: AnyConfig, data: Any, *callbacks: Callback) -> Run:
    """Train as scripts/train.py does, with all that a run shows and saves, in a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        run = Run(config, data, Path(folder))
        run.trainer.callbacks.extend(callbacks)  # type: ignore[attr-defined]
        run.trainer.fit(run.module, data)
    return run


class InTurns(Callback):
    """Trains for one epoch in each turn: waits for it, and then says the epoch's tokens, its seconds of training, and
    the validation figure. Where no turn comes, it ends the training."""

    def __init__(self, wait: Callable[[], str], say: Callable[[object], None]) -> None:
        """Both are called in the training thread; `wait` returns nothing if there are no more turns."""
        self.wait, self.say = wait, say

    def _begin(self, trainer: Trainer) -> None:
        trainer.should_stop = not self.wait()
        self.tokens, self.started = 0, time.perf_counter()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begin(trainer)

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.tokens += batch.num_tokens

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.seconds = time.perf_counter() - self.started

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, TaskModule)
        figure = float(trainer.callback_metrics[pl_module.monitor])
        self.say({"tokens": self.tokens, "seconds": self.seconds, "figure": figure})
        self._begin(trainer)


@contextmanager
def training_process(settings: Settings, run_dir: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start scripts/train.py. If the block ends first, the process is killed.

    Raises:
        UserError: the process failed; the message is its last line.
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
