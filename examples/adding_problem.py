"""The adding problem: can a net remember a number for a hundred steps?

Each row holds random numbers between 0 and 1, and beside each number a mark: 1 at two places, 0 elsewhere. One marked
number is in the first half, the other in the second. The net reads the whole row, and then says the sum of the two.
A net that remembers nothing does best with the answer 1, and its mean squared error is the variance of the sum of two
such numbers: 1/12 + 1/12 = 1/6. Whoever is below that line has carried a number through time.

Hochreiter & Schmidhuber (1997, doi:10.1162/neco.1997.9.8.1735) posed the problem to show what an LSTM can do and an RNN
can not. This is the form that later papers use (Le et al. 2015, arXiv:1504.00941).

    python examples/adding_problem.py                           # three minutes; draws runs/adding_problem.png
    python examples/adding_problem.py --length 6 --steps 200    # seconds
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn import functional as F

from unroll.encoders import build_encoder

CELLS = {"rnn_tanh": "RNN", "lstm": "LSTM", "gru": "GRU", "min_gru": "minGRU"}
BASELINE = 1 / 6  # mean squared error of the answer 1
Curve = dict[int, float]  # mean squared error on held-out rows, by optimiser step


class Adder(nn.Module):
    """An encoder, and a linear layer on its last output."""

    def __init__(self, cell: str, hidden_size: int) -> None:
        super().__init__()
        self.encoder = build_encoder(2, cell=cell, hidden_size=hidden_size)  # a RecurrentEncoder, or a MinGRU
        self.head = nn.Linear(hidden_size, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the sums (rows,) for `x` (rows, length, 2)."""
        output, _ = self.encoder(x)  # (rows, length, hidden_size)
        answer: Tensor = self.head(output[:, -1])
        return answer.squeeze(1)


def make_rows(rows: int, length: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw rows of the problem: x (rows, length, 2), numbers and marks, and the sums (rows,)."""
    numbers = torch.rand(rows, length, generator=generator)
    half = length // 2
    first = torch.randint(0, half, (rows, 1), generator=generator)
    second = torch.randint(half, length, (rows, 1), generator=generator)
    marks = torch.zeros(rows, length).scatter(1, torch.cat([first, second], dim=1), 1.0)
    return torch.stack([numbers, marks], dim=2), (numbers * marks).sum(1)


def train(length: int, steps: int, hidden_size: int = 64, batch_size: int = 64) -> dict[str, Curve]:
    """Train a net of each cell on the same rows, new ones in each step, and return its errors on held-out rows."""
    torch.manual_seed(0)
    models = {cell: Adder(cell, hidden_size) for cell in CELLS}
    optimizers = {cell: torch.optim.Adam(model.parameters(), lr=2e-3) for cell, model in models.items()}
    curves: dict[str, Curve] = {cell: {} for cell in CELLS}
    generator = torch.Generator().manual_seed(1)
    held_out, sums = make_rows(1000, length, torch.Generator().manual_seed(2))
    print("step ", *(f"{name:>8}" for name in CELLS.values()))
    for step in range(1, steps + 1):
        x, y = make_rows(batch_size, length, generator)
        for cell, model in models.items():
            optimizers[cell].zero_grad()
            F.mse_loss(model(x), y).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizers[cell].step()
        if step % max(1, steps // 20) == 0:
            for cell, model in models.items():
                with torch.no_grad():
                    curves[cell][step] = F.mse_loss(model(held_out), sums).item()
            print(f"{step:5}", *(f"{curve[step]:8.4f}" for curve in curves.values()), flush=True)
    return curves


def draw(curves: dict[str, Curve], length: int) -> Figure:
    """Draw the error of each cell against optimiser steps, with the error of the answer 1."""
    figure = Figure(figsize=(8, 4.5), dpi=110, layout="constrained")
    axes = figure.subplots()
    for cell, curve in curves.items():
        axes.plot(list(curve), list(curve.values()), label=CELLS[cell], marker=".")
    axes.axhline(BASELINE, color="black", linestyle="--", linewidth=1, label="always answers 1 (1/6)")
    axes.set(
        title=f"The adding problem, rows of {length} steps",
        xlabel="optimiser steps, 64 rows each",
        ylabel="mean squared error, held-out rows",
        yscale="log",
    )
    axes.grid(alpha=0.3)
    axes.legend(loc="lower left")
    return figure


def main(arguments: list[str] | None = None) -> dict[str, Curve]:
    parser = argparse.ArgumentParser(description="Train recurrent nets on the adding problem.")
    parser.add_argument("--length", type=int, default=100, help="steps of a row")
    parser.add_argument("--steps", type=int, default=2000, help="optimiser steps")
    parser.add_argument("--out", type=Path, default=Path("runs/adding_problem.png"), help="the picture")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)  # these tensors are small: threads would mostly wait for each other

    print(f"mean squared error; the answer 1 has {BASELINE:.4f}")
    curves = train(given.length, given.steps)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    draw(curves, given.length).savefig(given.out)
    print(f"the curves are drawn in {given.out}")
    return curves


if __name__ == "__main__":
    main()
