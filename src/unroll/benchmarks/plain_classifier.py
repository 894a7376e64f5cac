"""The textbook's sentiment model and its training in plain torch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import islice

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence

from unroll.batching.documents import Batch, BucketSampler
from unroll.config import ClassificationConfig
from unroll.tasks.data import ClassificationData
from unroll.training.run import resolve_precision


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


def make_ways(config: ClassificationConfig) -> dict[str, Callable[[int, int], float]]:
    """Return functions of (turn, steps) that train for so many steps and return their tokens/s."""
    data = ClassificationData(config.data, config.seed)
    size = config.data.batch_size or 32
    sampler = BucketSampler(data.train.lengths, batch_size=size, noise=config.data.bucket_noise, seed=config.seed)
    autocast = resolve_precision(config.trainer.precision) == "bf16-mixed"
    return {
        "textbook": _loop(data, TextbookClassifier, lambda turn: _shuffled(len(data.train), size, turn)),
        "bare": _loop(data, BareClassifier, _epochs(sampler), fused=True, autocast=autocast),
    }


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
    fused: bool | None = None,
    autocast: bool = False,
) -> Callable[[int, int], float]:
    """A training loop in plain torch; it returns its tokens/s."""
    torch.manual_seed(0)
    model = make(len(data.vocabulary), len(data.labels))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=fused)

    def train(turn: int, steps: int) -> float:
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
