"""Training the textbook's models (Raschka, Liu & Mirjalili 2022, chapter 15) by its own loop, by plain torch, by this
package, and by the kernels alone."""

from __future__ import annotations

import dataclasses
import statistics
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from benchmarks.request import AnyConfig
from benchmarks.runs import device_of, fit
from benchmarks.table import Bars, Column, Row, Table
from benchmarks.turns import now, plain_loops, ratio, take_turns
from unroll.config import ClassificationConfig, LanguageModelingConfig
from unroll.encoders.layout import round_up
from unroll.encoders.parallel import Padding, over_rows
from unroll.shown import public_origin
from unroll.tasks.spec import load_data
from unroll.training.run import quiet
from unroll.training.trainer import resolve_precision

TEXTBOOK, PLAIN, OURS, CEILING = "the textbook's loop", "plain torch", "unroll", "ceiling: the kernels alone"
BY_ROWS = "unroll, optimizer.embedding=rows"
PRODUCTS = {torch.float32: "a matrix product, float32", torch.bfloat16: "a matrix product, bf16"}
SIDE = 2048  # of the square matrices that measure the machine's rate


def products() -> dict[torch.dtype, str]:
    """Return those of `PRODUCTS` that this machine has instructions for: any other would take minutes."""
    has_bf16 = resolve_precision("auto") == "bf16-mixed"
    return {dtype: name for dtype, name in PRODUCTS.items() if dtype == torch.float32 or has_bf16}


def training(config: AnyConfig, steps: int, rounds: int) -> Table:
    """Compare ways to train one model.

    Args:
        config: the config of `experiment=textbook_imdb` or `experiment=textbook_charlm`.
        steps: batches for each way in each round.
        rounds: turns to take the median of.

    Returns:
        A row for each way: tokens/s, and their ratio to the textbook's loop and to the kernels alone. A classifier has
        a row more, with an embedding that is trained by rows. For the language model there is also the ratio to the
        rate at which the machine multiplies matrices.
    """
    quiet()
    data, device = load_data(config), device_of(config)
    is_novel = isinstance(config, LanguageModelingConfig)
    flops = _flops(config, data) if isinstance(config, LanguageModelingConfig) else 0
    with plain_loops(config) as plain:
        ways = {
            TEXTBOOK: partial(plain, "textbook", steps),
            PLAIN: partial(plain, "plain", steps),
            OURS: partial(_train, config, data, steps),
        }
        if not is_novel:
            by_rows = dataclasses.replace(config, optimizer=dataclasses.replace(config.optimizer, embedding="rows"))
            ways[BY_ROWS] = partial(_train, by_rows, data, steps)
        ways[CEILING] = partial(_kernels_alone, config, data, steps)
        if is_novel:
            ways |= {name: partial(_product, dtype, flops, device) for dtype, name in products().items()}
        figures = take_turns(ways, rounds)
    rows: list[Row] = []
    for name, speeds in figures.items():
        row: Row = {"way": name, "per_second": round(statistics.median(speeds))}
        if name in PRODUCTS.values():
            rows.append(row | {"gigaflops": statistics.median(speeds) * flops / 1e9})
            continue
        row |= {"of_textbook": ratio(figures, name, TEXTBOOK), "of_ceiling": ratio(figures, name, CEILING)}
        if is_novel:
            row["gigaflops"] = statistics.median(speeds) * flops / 1e9
            row |= {
                f"of_{dtype}".split(".")[-1]: ratio(figures, name, product) for dtype, product in products().items()
            }
        rows.append(row)
    unit = "characters/s" if is_novel else "tokens/s"
    columns = {
        "way": Column("training"),
        "per_second": Column(unit, "{:,}"),
        "of_textbook": Column("of the textbook's", "{:.1f} ×"),
        "of_ceiling": Column("of the ceiling", "{:.2f}"),
    }
    if is_novel:
        columns["gigaflops"] = Column("GFLOP/s", "{:,.0f}")
        for dtype, name in products().items():
            columns[str(dtype).split(".")[-1]] = Column(f"of {name.rpartition(' ')[2]}", "{:.0%}")
    name = "charlm" if is_novel else "imdb"
    turns = f"{steps} batches a turn, medians of {rounds} rounds"
    caption = f"{public_origin(data.source, data.origin)}, the textbook's model, {turns}, {device.type}"
    return Table(name, caption, columns, rows, bars=(Bars(f"{unit}, training", {"per_second": unit}),))


def _train(config: AnyConfig, data: Any, steps: int, turn: int) -> float:
    """Train by this package and return tokens/s."""
    trainer = dataclasses.replace(config.trainer, max_steps=steps, max_epochs=None, limit_val_batches=0)
    run = fit(dataclasses.replace(config, trainer=trainer), data)
    return run.throughput.tokens / run.throughput.seconds


def _kernels_alone(config: AnyConfig, data: Any, steps: int, turn: int) -> float:
    """Run the encoder's kernels on random batches of the same shapes, forward and backward, and return tokens/s. As in
    this package, documents are split over the cores and their steps rounded up; windows are not."""
    device, hidden = device_of(config), config.encoder.hidden_size
    rows_over_cores = isinstance(config, ClassificationConfig)
    shapes = [(*batch.ids.t().shape, batch.num_tokens) for batch in islice(data.train_dataloader(), steps)]
    if rows_over_cores and device.type == "cpu":
        shapes = [(round_up(time), rows, tokens) for time, rows, tokens in shapes]
    lstm = torch.nn.LSTM(config.model.embedding_size or len(data.vocabulary), hidden, device=device)
    weights = tuple(lstm.parameters())
    bf16 = resolve_precision(config.trainer.precision) == "bf16-mixed"
    inputs = [torch.randn(time, rows, lstm.input_size, device=device).requires_grad_() for time, rows, _ in shapes]
    gradients = [torch.randn(time, rows, hidden, device=device) for time, rows, _ in shapes]
    started = now(device)
    for x, gradient in zip(inputs, gradients, strict=True):
        states = (x.new_zeros(1, x.size(1), hidden),) * 2
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            if rows_over_cores:
                padding = Padding(torch.zeros(x.shape[:2], dtype=torch.bool), begins=len(x))
                output = over_rows(_lstm, x, states, weights, padding)[0]
            else:
                output = _lstm(x, *states, *weights)[0]
        torch.autograd.grad(output, [x, *weights], gradient.to(output.dtype))
    tokens = sum(tokens for *_, tokens in shapes)
    return float(tokens / (now(device) - started))


def _lstm(x: Tensor, h: Tensor, c: Tensor, *weights: Tensor) -> tuple[Tensor, ...]:
    return torch.lstm(x, (h, c), weights, True, 1, 0.0, True, False, False)


def _flops(config: LanguageModelingConfig, data: Any) -> int:
    """Return the floating-point operations per character, in matrix products forward and backward (twice as many)."""
    inputs, hidden, symbols = config.model.embedding_size or 0, config.encoder.hidden_size, len(data.vocabulary)
    return 3 * 2 * (4 * hidden * (inputs + hidden) + hidden * symbols)


def _product(dtype: torch.dtype, flops: int, device: torch.device, turn: int) -> float:
    """Return the characters/s of a machine that does nothing but multiply large matrices."""
    a, b = (torch.randn(SIDE, SIDE, device=device, dtype=dtype) for _ in range(2))
    products, started = 0, now(device)
    while (seconds := now(device) - started) < 0.5:
        a @ b
        products += 1
    return products * 2 * SIDE**3 / flops / seconds
