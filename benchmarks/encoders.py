"""The backends `packed` and `padded`, for every cell, direction and size, on rows of equal and of real lengths."""

from __future__ import annotations

import itertools
import statistics
from functools import partial

import numpy as np
import torch

from benchmarks.memory import peak_memory
from benchmarks.runs import device_of
from benchmarks.table import Bars, Column, Row, Table
from benchmarks.turns import now, ratio, take_turns
from unroll.config import ClassificationConfig
from unroll.encoders import RecurrentEncoder
from unroll.tasks.classification_data import ClassificationData
from unroll.tasks.spec import load_data
from unroll.training.run import quiet

CELLS, DIRECTIONS, HIDDEN = ("rnn_tanh", "rnn_relu", "gru", "lstm"), (1, 2), (64, 256, 512)
BACKENDS = ("packed", "padded")
ROWS, FEATURES = 16, 64


def encoders(config: ClassificationConfig, steps: int, rounds: int) -> Table:
    """Compare the encoder's backends, forward and backward, in float32.

    Args:
        config: the settings of the data with the real lengths.
        steps: mean steps of the rows.
        rounds: turns to take the median of.

    Returns:
        A row for each case: milliseconds and peak memory of each backend, the backend that `auto` takes, and its time
        as a multiple of the better one's.
    """
    quiet()
    device = device_of(config)
    rows: list[Row] = []
    for lengths_are, lengths in _lengths(load_data(config), steps).items():
        for hidden, cell, directions in itertools.product(HIDDEN, CELLS, DIRECTIONS):
            x = torch.randn(ROWS, int(lengths.max()), FEATURES, device=device).requires_grad_()
            encoder = RecurrentEncoder(cell, FEATURES, hidden, bidirectional=directions == 2).to(device)
            auto = encoder.backend_for(x)
            ways = {backend: partial(_step, encoder, backend, x, lengths) for backend in BACKENDS}
            figures = take_turns(ways, rounds)
            row: Row = {"cell": cell, "directions": directions, "hidden": hidden, "lengths": lengths_are}
            row |= {f"{backend}_ms": 1e3 * statistics.median(figures[backend]) for backend in BACKENDS}
            for backend in BACKENDS:
                peak = peak_memory(partial(ways[backend], 0), device)
                row[f"{backend}_mib"] = None if peak is None else peak / 2**20
            better = min(BACKENDS, key=lambda backend: statistics.median(figures[backend]))
            rows.append(row | {"auto": auto, "of_better": ratio(figures, auto, better)})
    columns = {
        "cell": Column("cell"),
        "directions": Column("directions", "{} dir."),
        "hidden": Column("hidden"),
        "lengths": Column("lengths"),
        "packed_ms": Column("packed, ms", "{:,.1f}"),
        "padded_ms": Column("padded, ms", "{:,.1f}"),
        "packed_mib": Column("packed, MiB", "{:,.0f}"),
        "padded_mib": Column("padded, MiB", "{:,.0f}"),
        "auto": Column("auto takes"),
        "of_better": Column("time of the better", "{:.2f} ×"),
    }
    caption = (
        f"forward and backward of {ROWS} rows, {steps} steps each on average, {FEATURES} features, float32, medians of "
        f"{rounds} rounds, {device.type}; real: the lengths of {ROWS} reviews drawn at random, in proportion"
    )
    bars = Bars("ms, forward and backward", {"packed_ms": "packed", "padded_ms": "padded"})
    return Table("encoders", caption, columns, rows, 4, (bars,))


def _lengths(data: ClassificationData, steps: int) -> dict[str, torch.Tensor]:
    drawn = np.random.default_rng(0).choice(data.train.lengths, ROWS)
    real = np.maximum(1, np.round(drawn * (steps / drawn.mean()))).astype(np.int64)
    return {"uniform": torch.full((ROWS,), steps), "real": torch.from_numpy(real)}


def _step(encoder: RecurrentEncoder, backend: str, x: torch.Tensor, lengths: torch.Tensor, turn: int) -> float:
    """Return the seconds of a pass forward and backward."""
    encoder.backend = backend
    started = now(x.device)
    output, _ = encoder(x, lengths)
    torch.autograd.grad(output.sum(), [x, *encoder.parameters()])
    return now(x.device) - started
