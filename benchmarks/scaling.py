"""Time and memory against the size of the work: neither should grow faster than the size."""

from __future__ import annotations

import dataclasses
import json
import statistics
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.memory import peak_memory
from benchmarks.runs import device_of, training_file
from benchmarks.table import Bars, Column, Row, Table
from benchmarks.turns import now, take_turns
from unroll.config import ClassificationConfig
from unroll.corpora.files import read_rows
from unroll.encoders import RecurrentEncoder
from unroll.encoders.state import State, detach
from unroll.tasks.spec import load_data
from unroll.training.run import quiet

FEATURES, SHORTEST, WINDOW = 64, 128, 128
ROWS, STEPS = 32, 256  # while another size changes
REVIEWS = 1000  # in one copy of the corpus


def scaling(config: ClassificationConfig, steps: int, rounds: int) -> Table:
    """Measure an LSTM of 64 units forward and backward, and the reading of a corpus from its file to ids.

    Args:
        config: the settings of the reviews that are copied.
        steps: steps of the longest rows.
        rounds: turns to take the median of.

    Returns:
        A row for each size: seconds, their growth divided by the growth of the size (1 is linear, less is better), and
        peak memory.
    """
    quiet()
    device = device_of(config)
    lengths = [SHORTEST * 2**k for k in range(max(0, steps // SHORTEST - 1).bit_length() + 1)]
    encoded: dict[tuple[str, int], Callable[[], object]] = {}
    for length in lengths:
        encoded["steps a row, whole", length] = partial(_pass, *_made(device, 8, length, 1), None)
        encoded[f"steps a row, windows of {WINDOW}", length] = partial(_pass, *_made(device, 8, length, 1), WINDOW)
    for rows in (8, 16, 32, 64, 128):
        encoded["rows", rows] = partial(_pass, *_made(device, rows, STEPS, 1), None)
    for layers in (1, 2, 4, 8):
        encoded["layers", layers] = partial(_pass, *_made(device, ROWS, STEPS, layers), None)
    with tempfile.TemporaryDirectory() as folder:
        for copies in (1, 2, 4, 8, 16):
            encoded["copies of the corpus", copies] = partial(_read, _copied(config, Path(folder), copies))
        figures = take_turns({f"{k} {n}": _timed(work, device) for (k, n), work in encoded.items()}, rounds)
        peaks = {case: peak_memory(work, device) for case, work in encoded.items()}
    measured: list[Row] = []
    first: dict[str, tuple[int, float]] = {}
    for (what, size), peak in sorted(peaks.items()):
        seconds = statistics.median(figures[f"{what} {size}"])
        size_1, seconds_1 = first.setdefault(what, (size, seconds))
        row: Row = {"what": what, "size": size, "seconds": seconds, "growth": seconds / seconds_1 / (size / size_1)}
        measured.append(row | {"mib": None if peak is None else peak / 2**20})
    columns = {
        "what": Column("against"),
        "size": Column("size", "{:,}"),
        "seconds": Column("seconds", "{:.3f}"),
        "growth": Column("a unit, of the first's", "{:.2f} ×"),
        "mib": Column("peak, MiB", "{:,.1f}"),
    }
    caption = (
        f"LSTM of {FEATURES} units, forward and backward: 8 rows where the steps change, else {ROWS} rows of {STEPS} "
        f"steps; a corpus of {REVIEWS} reviews, read, tokenised, encoded; medians of {rounds} rounds, {device.type}"
    )
    bars = Bars("seconds", {"seconds": "seconds"}), Bars("peak memory, MiB", {"mib": "MiB"})
    return Table("scaling", caption, columns, measured, 2, bars)


def _timed(work: Callable[[], object], device: torch.device) -> Callable[[int], float]:
    def run(turn: int) -> float:
        started = now(device)
        work()
        return now(device) - started

    return run


def _made(device: torch.device, rows: int, steps: int, layers: int) -> tuple[RecurrentEncoder, Tensor]:
    encoder = RecurrentEncoder("lstm", FEATURES, FEATURES, layers).to(device)
    return encoder, torch.randn(rows, steps, FEATURES, device=device)


def _pass(encoder: RecurrentEncoder, x: Tensor, window: int | None) -> None:
    """Go forward and backward; the state is carried from window to window and detached."""
    encoder.zero_grad()
    state: State | None = None
    goes_on = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    for part in torch.split(x, window or x.size(1), dim=1):
        output, state = encoder(part, torch.full((len(part),), part.size(1)), state)
        output.sum().backward()
        state = detach(state, ended=goes_on)


def _copied(config: ClassificationConfig, folder: Path, copies: int) -> ClassificationConfig:
    """Write `REVIEWS` reviews, spread over the corpus, `copies` times; return the settings that read them."""
    reviews = list(read_rows(training_file(config)))
    reviews = reviews[:: max(1, len(reviews) // REVIEWS)][:REVIEWS]
    file = folder / f"{copies}.jsonl"
    with file.open("w", encoding="utf-8") as lines:
        for _ in range(copies):
            lines.writelines(json.dumps({"text": text, "label": label}) + "\n" for text, label in reviews)
    data = dataclasses.replace(config.data, path=str(file), source="local", limit=None)
    return dataclasses.replace(config, data=data)


def _read(config: ClassificationConfig) -> None:
    with tempfile.TemporaryDirectory() as cache:
        load_data(dataclasses.replace(config, data=dataclasses.replace(config.data, folder=cache)))
