"""Ways of doing the same, measured in turns, so that the machine's moods strike all alike.

What stands for plain torch runs in a process of its own, where OpenMP is set as torch comes: this package's setting
would slow it down.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from rich.console import Console

from unroll.config import ClassificationConfig, LanguageModelingConfig, to_dict
from unroll.inference.generate import LoadedLanguageModel
from unroll.models.language_model import build_language_model
from unroll.tasks.novel_data import NovelData
from unroll.training.monitoring import ProgressLines, Throughput
from unroll.training.run import AnyData, build_task, load_data, quiet, resolve_precision

OPENMP_AS_IT_COMES = {"GOMP_SPINCOUNT": "300000"}
STREAMS = 64  # texts that are written at once

Way = Callable[[int], float]  # the number of a turn -> tokens/s


def training(config: ClassificationConfig | LanguageModelingConfig, steps: int, rounds: int) -> list[dict[str, Any]]:
    """Compare ways of training one model: the textbook's loop, a bare loop over torch's kernels, and this package.

    Args:
        config: that of `experiment=textbook_imdb` or `experiment=textbook_charlm`.
        steps: batches that each way trains on in each round.
        rounds: turns that are counted; one more goes before them.

    Returns:
        A row for each way, see `take_turns`.
    """
    quiet()
    data = load_data(config)
    with _plain_loops(config) as plain:
        ways = {
            "textbook's loop": partial(plain, "textbook", steps),
            "bare loop, same kernels": partial(plain, "bare", steps),
            "unroll": partial(_train, config, data, steps),
        }
        return take_turns(ways, rounds)


def generation(config: LanguageModelingConfig, length: int, rounds: int) -> list[dict[str, Any]]:
    """Compare ways of writing `length` characters with one untrained model: the textbook's loop, one text, and
    `STREAMS` texts at once. See `training` for the others."""
    data = NovelData(config.data, config.tbptt, config.seed)
    network = build_language_model(config, len(data.vocabulary)).eval()
    model = LoadedLanguageModel(network, data.vocabulary, data.opening, config, {})

    def write(samples: int, turn: int) -> float:
        started = time.perf_counter()
        model.generate("", length=length, seed=turn * STREAMS, samples=samples)
        return samples * length / (time.perf_counter() - started)

    with _plain_loops(config) as plain:
        ways = {
            "textbook's loop, one text": partial(plain, "sampler", length),
            "unroll, one text": partial(write, 1),
            f"unroll, {STREAMS} texts": partial(write, STREAMS),
        }
        return take_turns(ways, rounds)


def take_turns(ways: Mapping[str, Way], rounds: int) -> list[dict[str, Any]]:
    """Return for each way its name, the median of its tokens/s, and the medians of its ratios to the first two."""
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        for name, way in ways.items():
            speed = way(turn)
            if turn:
                speeds[name].append(speed)
    first, second = (speeds[name] for name in list(ways)[:2])
    return [
        {
            "way": name,
            "per_second": round(statistics.median(figures)),
            "of_first": round(statistics.median(x / y for x, y in zip(figures, first, strict=True)), 2),
            "of_second": round(statistics.median(x / y for x, y in zip(figures, second, strict=True)), 3),
        }
        for name, figures in speeds.items()
    ]


@contextmanager
def _plain_loops(config: ClassificationConfig | LanguageModelingConfig) -> Iterator[Callable[[str, int, int], float]]:
    """Start `unroll.benchmarks.loops`; give a function of (way, steps, turn) that has it work and returns tokens/s."""
    command = [sys.executable, "-m", "unroll.benchmarks.loops"]
    environment = os.environ | OPENMP_AS_IT_COMES
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as loops:
        assert loops.stdin is not None and loops.stdout is not None
        orders, answers = loops.stdin, loops.stdout
        print(json.dumps(to_dict(config)), file=orders, flush=True)

        def work(way: str, steps: int, turn: int) -> float:
            print(way, turn, steps, file=orders, flush=True)
            return float(answers.readline())

        yield work


def _train(config: ClassificationConfig | LanguageModelingConfig, data: AnyData, steps: int, turn: int) -> float:
    """Train as `scripts/train.py` does, its callbacks and its TensorBoard included; return its tokens/s."""
    throughput = Throughput(config.trainer.log_every_n_steps)
    loader = data.train_dataloader()
    loader.sampler.set_epoch(turn)  # type: ignore[attr-defined]
    task = build_task(config, data)
    with tempfile.TemporaryDirectory() as folder, Path(folder, "screen").open("w") as screen:
        trainer = Trainer(
            max_steps=steps,
            max_epochs=-1,
            limit_val_batches=0,
            precision=resolve_precision(config.trainer.precision),  # type: ignore[arg-type]
            accelerator="cpu",
            logger=TensorBoardLogger(folder),
            callbacks=[throughput, ProgressLines(type(task), throughput, Console(file=screen))],
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(task, loader)
    return throughput.tokens / throughput.seconds
