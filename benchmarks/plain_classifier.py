"""The textbook's sentiment model (Raschka, Liu & Mirjalili 2022, chapter 15), trained and used in plain torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence

from benchmarks.runs import device_of
from benchmarks.turns import now
from unroll.batching.documents import Batch, Documents
from unroll.config import ClassificationConfig
from unroll.tasks.classification_data import ClassificationData
from unroll.tasks.documents import words
from unroll.tasks.spec import load_data
from unroll.text.tokenizers import get_tokenizer
from unroll.training.trainer import resolve_precision


class TextbookClassifier(nn.Module):
    """The textbook's model: torch's modules, a PackedSequence, the last state."""

    def __init__(self, vocabulary_size: int, num_classes: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary_size, 20, padding_idx=0)
        self.lstm = nn.LSTM(20, 64, batch_first=True)
        self.hidden, self.out = nn.Linear(64, 64), nn.Linear(64, num_classes)

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(self.embedding(ids), lengths.cpu(), batch_first=True, enforce_sorted=False)
        _, (h, _) = self.lstm(packed)
        logits: Tensor = self.out(F.relu(self.hidden(h[-1])))
        return logits


class PaddedClassifier(TextbookClassifier):
    """The same model over the padded kernel; the last state is read at each row's last step."""

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        output, _ = self.lstm(self.embedding(ids))
        last = output[torch.arange(len(ids), device=ids.device), lengths - 1]
        logits: Tensor = self.out(F.relu(self.hidden(last)))
        return logits


class DefaultClassifier(nn.Module):
    """unroll's default model in torch's modules, as one would write it for single texts, which need no padding."""

    def __init__(self, vocabulary_size: int, num_classes: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary_size, 64, padding_idx=0)
        self.lstm = nn.LSTM(64, 64, batch_first=True, bidirectional=True)
        self.out = nn.Linear(256, num_classes)

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        output, _ = self.lstm(self.embedding(ids))
        logits: Tensor = self.out(torch.cat([output.amax(1), output.mean(1)], dim=1))
        return logits


def make_ways(config: ClassificationConfig) -> dict[str, Callable[[int, int], float]]:
    """Return functions of (turn, steps): `textbook` and `plain` train for `steps` batches and return tokens/s,
    `one_by_one` and `default_one_by_one` label `steps` texts and return texts/s."""
    data: ClassificationData = load_data(config)
    sizes, device = (len(data.vocabulary), len(data.labels)), device_of(config)
    torch.manual_seed(0)
    textbook, padded = TextbookClassifier(*sizes).to(device), PaddedClassifier(*sizes).to(device)
    autocast = resolve_precision(config.trainer.precision) == "bf16-mixed"
    return {
        "textbook": _training(textbook, data.train, lambda turn: shuffled(len(data.train), turn), device),
        "plain": _training(padded, data.train, lambda turn: _bucketed(data), device, True, autocast),
        "one_by_one": _labelling(textbook, data, device),
        "default_one_by_one": _labelling(DefaultClassifier(*sizes).to(device), data, device),
    }


def shuffled(documents: int, turn: int, size: int = 32) -> Iterator[list[int]]:
    """Return the textbook's batches of an epoch."""
    order = np.random.default_rng(turn).permutation(documents)
    return iter([order[i : i + size].tolist() for i in range(0, documents, size)])


def _bucketed(data: ClassificationData) -> Iterator[list[int]]:
    """Yield this package's batches, of documents of similar length."""
    yield from data.train_dataloader().sampler


def _training(
    model: nn.Module,
    documents: Documents,
    batches: Callable[[int], Iterator[list[int]]],
    device: torch.device,
    fused: bool | None = None,
    autocast: bool = False,
) -> Callable[[int, int], float]:
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=fused)

    def train(turn: int, steps: int) -> float:
        chosen, tokens = list(islice(batches(turn), steps)), 0
        started = now(device)
        for rows in chosen:
            ids, lengths, labels, _ = documents[rows]
            batch = Batch(ids.to(device), lengths.to(device), labels.to(device))
            with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
                logits = model(batch.ids, batch.lengths)
            loss = F.cross_entropy(logits.float(), batch.labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            tokens += batch.num_tokens
        return tokens / (now(device) - started)

    return train


def _labelling(model: nn.Module, data: ClassificationData, device: torch.device) -> Callable[[int, int], float]:
    """One text per call, packed, as the textbook labels a text."""
    tokenize = get_tokenizer(data.config.tokenizer)
    texts = [words(data.val, row, data.codec) for row in range(len(data.val))]

    def label(turn: int, steps: int) -> float:
        model.eval()
        started = now(device)
        for k in range(steps):
            ids = torch.tensor([data.vocabulary.encode(tokenize(texts[(turn * steps + k) % len(texts)]))])
            with torch.no_grad():
                model(ids.to(device), torch.tensor([ids.size(1)])).softmax(-1).argmax().item()
        seconds = now(device) - started
        model.train()
        return steps / seconds

    return label


def accuracies(config: ClassificationConfig, data: ClassificationData, epochs: int) -> Iterator[float]:
    """Train as the textbook does, and yield the validation accuracy after each epoch.

    This uses the padded kernel, which computes the same (the tests compare them) in a fraction of the time. The
    textbook's seconds are measured with its own loop.
    """
    torch.manual_seed(config.seed)
    device = device_of(config)
    model = PaddedClassifier(len(data.vocabulary), len(data.labels)).to(device)
    train = _training(model, data.train, lambda turn: shuffled(len(data.train), turn), device)
    for epoch in range(epochs):
        train(epoch, len(data.train))
        with torch.inference_mode():
            right = [
                model(batch.ids.to(device), batch.lengths.to(device)).argmax(-1).cpu() == batch.labels
                for batch in data.val_dataloader()
            ]
        yield float(torch.cat(right).float().mean())
