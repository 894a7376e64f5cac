"""Training throughput of the textbook's sentiment model: the textbook's loop, a bare loop, and this package.

All three train the same model (embedding 20, one LSTM layer of 64 units, its last state, a 64-unit ReLU layer) with
Adam on batches of 32 of the same reviews. They take turns, so that the machine's moods strike all alike. The first two
run in a process of their own, where OpenMP is set as torch comes: this package's setting would slow them down.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from rich.console import Console

from unroll.config import Config, to_dict
from unroll.tasks.classification import Classification
from unroll.tasks.data import ClassificationData
from unroll.training.monitoring import ProgressLines, Throughput
from unroll.training.run import quiet, resolve_precision

OPENMP_AS_IT_COMES = {"GOMP_SPINCOUNT": "300000"}


def measure(config: Config, steps: int, rounds: int) -> list[dict[str, Any]]:
    """Return a row for each way of training: its name, its median tokens/s, and the ratios to the first two.

    Args:
        config: that of `experiment=textbook_imdb`.
        steps: batches that each way trains on in each round.
        rounds: turns that are counted; one more goes before them.
    """
    quiet()
    data = ClassificationData(config.data, config.seed)
    command = [sys.executable, "-m", "unroll.benchmarks.loops"]
    environment = os.environ | OPENMP_AS_IT_COMES
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as loops:
        assert loops.stdin is not None
        print(json.dumps(to_dict(config)), file=loops.stdin, flush=True)
        ways: dict[str, Callable[[int], float]] = {
            "textbook's loop": partial(_plain, loops, "textbook", steps),
            "bare loop, same kernels": partial(_plain, loops, "bare", steps),
            "unroll": partial(_unroll, config, data, steps),
        }
        speeds: dict[str, list[float]] = {name: [] for name in ways}
        for turn in range(rounds + 1):
            for name, train in ways.items():
                speed = train(turn)
                if turn:
                    speeds[name].append(speed)
    textbook, bare = (speeds[name] for name in list(ways)[:2])
    return [
        {
            "way": name,
            "tokens_per_second": round(statistics.median(figures)),
            "of_textbook": round(statistics.median(x / y for x, y in zip(figures, textbook, strict=True)), 2),
            "of_bare_loop": round(statistics.median(x / y for x, y in zip(figures, bare, strict=True)), 3),
        }
        for name, figures in speeds.items()
    ]


def _plain(loops: subprocess.Popen[str], way: str, steps: int, turn: int) -> float:
    """Have the other process train; return its tokens/s."""
    assert loops.stdin is not None and loops.stdout is not None
    print(way, turn, steps, file=loops.stdin, flush=True)
    return float(loops.stdout.readline())


def _unroll(config: Config, data: ClassificationData, steps: int, turn: int) -> float:
    """Train as `scripts/train.py` does, its callbacks and its TensorBoard included; return its tokens/s."""
    throughput = Throughput(config.trainer.log_every_n_steps)
    loader = data.train_dataloader()
    loader.sampler.set_epoch(turn)  # type: ignore[attr-defined]
    with tempfile.TemporaryDirectory() as folder, Path(folder, "screen").open("w") as screen:
        trainer = Trainer(
            max_steps=steps,
            max_epochs=-1,
            limit_val_batches=0,
            precision=resolve_precision(config.trainer.precision),  # type: ignore[arg-type]
            accelerator="cpu",
            logger=TensorBoardLogger(folder),
            callbacks=[throughput, ProgressLines(throughput, Console(file=screen))],
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(Classification(config, data, steps), loader)
    return throughput.tokens / throughput.seconds
