"""The textbook's character-level language model (Raschka, Liu & Mirjalili 2022, chapter 15), trained and sampled in
plain torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle, islice

import torch
from torch import Tensor, nn
from torch.distributions import Categorical
from torch.nn import functional as F

from benchmarks.runs import device_of
from benchmarks.turns import now
from unroll.config import LanguageModelingConfig
from unroll.tasks.language_modeling_data import LanguageModelingData
from unroll.tasks.spec import load_data
from unroll.training.trainer import resolve_precision

SCALE = 1.0  # of the logits, in the textbook's sampler


class TextbookLanguageModel(nn.Module):
    """The textbook's model: torch's modules, one character per call."""

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

    def window(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Read a window of characters (rows, time) in one call; the logits are (rows, time, vocabulary)."""
        output, state = self.lstm(self.embedding(x), state)
        return self.out(output), state

    def zeros(self, rows: int) -> tuple[Tensor, Tensor]:
        """Return the state at the beginning of a text."""
        zeros = torch.zeros(1, rows, self.hidden_size, device=self.out.weight.device)
        return zeros, zeros


def make_ways(config: LanguageModelingConfig) -> dict[str, Callable[[int, int], float]]:
    """Return functions of (turn, steps) that return characters/s: `textbook` and `plain` train for `steps` batches,
    `sampler` writes `steps` characters."""
    data: LanguageModelingData = load_data(config)
    device = device_of(config)
    autocast = resolve_precision(config.trainer.precision) == "bf16-mixed"
    return {
        "textbook": _textbook(_model(config, data), data, config, device),
        "plain": _plain(_model(config, data), data, config, device, autocast),
        "sampler": _sampler(_model(config, data), data.vocabulary.tokens, device),
    }


def _model(config: LanguageModelingConfig, data: LanguageModelingData) -> TextbookLanguageModel:
    torch.manual_seed(config.seed)
    symbols = len(data.vocabulary)
    model = TextbookLanguageModel(symbols, config.model.embedding_size or symbols, config.encoder.hidden_size)
    return model.to(device_of(config))


def _windows(data: LanguageModelingData, config: LanguageModelingConfig) -> Iterator[Tensor]:
    """Yield the textbook's batches without end: shuffled windows, each with its next character (rows, window + 1)."""
    window, rows = config.tbptt.window, config.data.batch_size
    chunks = torch.from_numpy(data.train.ids).long().unfold(0, window + 1, window)
    while True:
        order = torch.split(torch.randperm(len(chunks)), rows)
        yield from (chunks[places] for places in order if len(places) == rows)


def _textbook(
    model: TextbookLanguageModel, data: LanguageModelingData, config: LanguageModelingConfig, device: torch.device
) -> Callable[[int, int], float]:
    """Shuffled windows of the text, each from a zero state; one call per character; Adam."""
    optimizer = torch.optim.Adam(model.parameters(), lr=config.optimizer.learning_rate)
    window, rows, windows = config.tbptt.window, config.data.batch_size, _windows(data, config)

    def train(turn: int, steps: int) -> float:
        batches = [batch.to(device) for batch in islice(windows, steps)]
        started = now(device)
        for batch in batches:
            h, c = model.zeros(rows)
            optimizer.zero_grad()
            loss = torch.zeros((), device=device)
            for place in range(window):
                logits, h, c = model(batch[:, place], h, c)
                loss = loss + F.cross_entropy(logits, batch[:, place + 1])
            loss.backward()
            optimizer.step()
        return steps * rows * window / (now(device) - started)

    return train


def _plain(
    model: TextbookLanguageModel,
    data: LanguageModelingData,
    config: LanguageModelingConfig,
    device: torch.device,
    autocast: bool,
) -> Callable[[int, int], float]:
    """This package's batches: lanes, one call per window, the state carried; fused Adam, bf16."""
    optimizer = torch.optim.Adam(model.parameters(), lr=config.optimizer.learning_rate, fused=True)
    batches = cycle(data.train_dataloader())

    def train(turn: int, steps: int) -> float:
        chosen = list(islice(batches, steps))
        state = model.zeros(config.data.batch_size)
        characters, started = 0, now(device)
        for batch in chosen:
            with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
                logits, state = model.window(batch.ids.to(device), state)
            state = (state[0].detach(), state[1].detach())
            loss = F.cross_entropy(logits.float().flatten(0, 1), batch.targets.to(device).flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            characters += batch.num_tokens
        return characters / (now(device) - started)

    return train


def _sampler(
    model: TextbookLanguageModel, characters: Sequence[str], device: torch.device
) -> Callable[[int, int], float]:
    """One call per character, with gradients tracked, as in the textbook's sampling loop."""

    def write(turn: int, steps: int) -> float:
        torch.manual_seed(turn)
        model.eval()
        (h, c), text, last = model.zeros(1), "", torch.tensor([2], device=device)
        started = now(device)
        for _ in range(steps):
            logits, h, c = model(last, h, c)
            last = Categorical(logits=logits * SCALE).sample()
            text += str(characters[last.item()])
        return steps / (now(device) - started)

    return write


def bits_per_character(
    config: LanguageModelingConfig, data: LanguageModelingData, steps: int, every: int
) -> Iterator[tuple[int, float]]:
    """Train as the textbook does, and yield (step, bits per character of the validation split) every `every` steps.

    One call reads a window, which computes the same (the tests compare them) in less time. The textbook's seconds are
    measured with its own loop. The validation split is one stream; its state is carried.
    """
    model, device, windows = _model(config, data), device_of(config), _windows(data, config)
    optimizer = torch.optim.Adam(model.parameters(), lr=config.optimizer.learning_rate)
    for step in range(1, steps + 1):
        batch = next(windows).to(device)
        logits, _ = model.window(batch[:, :-1], model.zeros(len(batch)))
        loss = config.tbptt.window * F.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % every == 0 or step == steps:
            yield step, _validate(model, data, device)


@torch.inference_mode()
def _validate(model: TextbookLanguageModel, data: LanguageModelingData, device: torch.device) -> float:
    state, nats = model.zeros(1), 0.0
    for batch in data.val_dataloader():
        logits, state = model.window(batch.ids.to(device), state)
        nats += float(F.cross_entropy(logits[0], batch.targets[0].to(device), reduction="sum"))
    return nats / math.log(2) / (len(data.val) - 1)
