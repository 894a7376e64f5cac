"""Training throughput of the textbook's sentiment model: the textbook's loop, a bare loop, and this package.

All three train the same model (embedding 20, one LSTM layer of 64 units, its last state, a 64-unit ReLU layer) with
Adam on batches of 32 of the same reviews. They take turns, so that the machine's moods strike all alike.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from rich.console import Console
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence

from unroll.batching.documents import Batch, BucketSampler
from unroll.config import Config
from unroll.tasks.classification import Classification
from unroll.tasks.data import ClassificationData
from unroll.training.monitoring import ProgressLines, Throughput
from unroll.training.run import quiet, resolve_precision


class TextbookClassifier(nn.Module):
    """The model as a textbook writes it: torch's modules, a PackedSequence, the last state."""

    def __init__(self, vocabulary_size: int, num_classes: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary_size, 20, padding_idx=0)
        self.lstm = nn.LSTM(20, 64, batch_first=True)
        self.hidden, self.out = nn.Linear(64, 64), nn.Linear(64, num_classes)

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(self.embedding(ids), lengths, batch_first=True, enforce_sorted=False)
        _, (h, _) = self.lstm(packed)
        logits: Tensor = self.out(F.relu(self.hidden(h[-1])))
        return logits


class BareClassifier(TextbookClassifier):
    """The same model over the padded kernel; the last state is read at each row's last step."""

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        output, _ = self.lstm(self.embedding(ids))
        last = output[torch.arange(len(ids)), lengths - 1]
        logits: Tensor = self.out(F.relu(self.hidden(last)))
        return logits


def measure(config: Config, steps: int, rounds: int) -> list[dict[str, Any]]:
    """Return a row for each way of training: its name, its median tokens/s, and the ratio to the textbook's.

    Args:
        config: that of `experiment=textbook_imdb`.
        steps: batches that each way trains on in each round.
        rounds: turns that are counted; one more goes before them.
    """
    quiet()
    data = ClassificationData(config.data, config.seed)
    size = config.data.batch_size or 32
    sampler = BucketSampler(data.train.lengths, batch_size=size, noise=config.data.bucket_noise, seed=config.seed)
    autocast = resolve_precision(config.trainer.precision) == "bf16-mixed"
    ways: dict[str, Callable[[int], float]] = {
        "textbook's loop": _loop(data, TextbookClassifier, lambda turn: _shuffled(len(data.train), size, turn), steps),
        "bare loop, same kernels": _loop(data, BareClassifier, _epochs(sampler), steps, fused=True, autocast=autocast),
        "unroll": lambda turn: _unroll(config, data, steps, turn),
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


def _shuffled(documents: int, size: int, turn: int) -> Iterator[list[int]]:
    order = np.random.default_rng(turn).permutation(documents)
    return iter([order[i : i + size].tolist() for i in range(0, documents, size)])


def _epochs(sampler: BucketSampler) -> Callable[[int], Iterator[list[int]]]:
    def batches(turn: int) -> Iterator[list[int]]:
        sampler.set_epoch(turn)
        return iter(sampler)

    return batches


def _loop(
    data: ClassificationData,
    make: Callable[[int, int], nn.Module],
    batches: Callable[[int], Iterator[list[int]]],
    steps: int,
    fused: bool | None = None,
    autocast: bool = False,
) -> Callable[[int], float]:
    """A training loop in plain torch; it returns its tokens/s."""
    torch.manual_seed(0)
    model = make(len(data.vocabulary), len(data.labels))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=fused)

    def train(turn: int) -> float:
        chosen, tokens = list(islice(batches(turn), steps)), 0
        started = time.perf_counter()
        for rows in chosen:
            batch: Batch = data.train[rows]
            with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                logits = model(batch.ids, batch.lengths)
            loss = F.cross_entropy(logits.float(), batch.labels)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            tokens += int(batch.lengths.sum())
        return tokens / (time.perf_counter() - started)

    return train


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
