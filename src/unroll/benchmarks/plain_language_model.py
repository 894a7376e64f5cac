"""The textbook's character-level language model, its training and its sampling in plain torch."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import cycle

import torch
from torch import Tensor, nn
from torch.distributions import Categorical
from torch.nn import functional as F

from unroll.config import LanguageModelingConfig
from unroll.tasks.novel_data import NovelData
from unroll.training.run import resolve_precision

SCALE = 1.0  # of the logits, in the textbook's sampler


class TextbookLanguageModel(nn.Module):
    """The model as a textbook writes it: torch's modules, one character a call."""

    def __init__(self, vocabulary_size: int, embedding_size: int, hidden_size: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary_size, embedding_size)
        self.lstm = nn.LSTM(embedding_size, hidden_size, batch_first=True)
        self.out = nn.Linear(hidden_size, vocabulary_size)
        self.hidden_size = hidden_size

    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Take one character of each row (rows,), return the logits (rows, vocabulary) of the next, and the state."""
        output, (h, c) = self.lstm(self.embedding(x).unsqueeze(1), (h, c))
        return self.out(output).reshape(output.size(0), -1), h, c

    def zeros(self, rows: int) -> Tensor:
        return torch.zeros(1, rows, self.hidden_size)


def make_ways(config: LanguageModelingConfig) -> dict[str, Callable[[int, int], float]]:
    """Return functions of (turn, steps) that train for so many steps, or write so many characters, and return their
    characters/s."""
    data = NovelData(config.data, config.tbptt, config.seed)

    def make() -> TextbookLanguageModel:
        torch.manual_seed(0)
        return TextbookLanguageModel(
            len(data.vocabulary), config.model.embedding_size or len(data.vocabulary), config.encoder.hidden_size
        )

    autocast = resolve_precision(config.trainer.precision) == "bf16-mixed"
    return {
        "textbook": _textbook(make(), data, config),
        "bare": _bare(make(), data, config, autocast),
        "sampler": _sampler(make(), data.vocabulary.tokens),
    }


def _textbook(
    model: TextbookLanguageModel, data: NovelData, config: LanguageModelingConfig
) -> Callable[[int, int], float]:
    """Windows from anywhere in the text, shuffled, each from a zero state; one call a character; dense Adam."""
    optimizer = torch.optim.Adam(model.parameters(), lr=config.optimizer.learning_rate)
    window, rows = config.tbptt.window, config.data.batch_size
    chunks = torch.from_numpy(data.train).long().unfold(0, window + 1, window)

    def train(turn: int, steps: int) -> float:
        order = torch.split(torch.randperm(len(chunks)), rows)
        batches = cycle([chunks[places] for places in order if len(places) == rows])
        started = time.perf_counter()
        for _, batch in zip(range(steps), batches, strict=False):
            h, c = model.zeros(rows), model.zeros(rows)
            optimizer.zero_grad()
            loss = torch.zeros(())
            for place in range(window):
                logits, h, c = model(batch[:, place], h, c)
                loss = loss + F.cross_entropy(logits, batch[:, place + 1])
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        return steps * rows * window / (time.perf_counter() - started)

    return train


def _bare(
    model: TextbookLanguageModel, data: NovelData, config: LanguageModelingConfig, autocast: bool
) -> Callable[[int, int], float]:
    """The same batches as this package's: lanes, one call a window, the state carried; fused Adam, bf16."""
    optimizer = torch.optim.Adam(model.parameters(), lr=config.optimizer.learning_rate, fused=True)
    batches = list(data.train_dataloader())

    def train(turn: int, steps: int) -> float:
        chosen = [batches[(turn * steps + step) % len(batches)] for step in range(steps)]
        state = (model.zeros(config.data.batch_size), model.zeros(config.data.batch_size))
        characters, started = 0, time.perf_counter()
        for batch in chosen:
            with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                output, state = model.lstm(model.embedding(batch.ids), state)
                logits = model.out(output)
            state = (state[0].detach(), state[1].detach())
            loss = F.cross_entropy(logits.float().flatten(0, 1), batch.targets.flatten())
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            characters += batch.num_tokens
        return characters / (time.perf_counter() - started)

    return train


def _sampler(model: TextbookLanguageModel, characters: Sequence[str]) -> Callable[[int, int], float]:
    """One call a character, gradients tracked, as a textbook's sampling loop does it."""

    def write(turn: int, steps: int) -> float:
        torch.manual_seed(turn)
        model.eval()
        h, c = model.zeros(1), model.zeros(1)
        text, last = "", torch.tensor([2])
        started = time.perf_counter()
        for _ in range(steps):
            logits, h, c = model(last, h, c)
            last = Categorical(logits=logits * SCALE).sample()  # type: ignore[no-untyped-call]
            text += str(characters[last.item()])
        return steps / (time.perf_counter() - started)

    return write
