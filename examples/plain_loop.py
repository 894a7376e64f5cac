"""An encoder of `unroll` in a plain torch training loop, on rows of different lengths.

The task: which wave is it? Each row is a noisy sine, square or sawtooth wave of 20 to 60 steps, and the net names the
shape. Guessing is right in 1 of 3 rows. The encoder takes the padded batch and the rows' lengths; what stands in the
padding has no influence, so that a row gets the same answer alone as in a batch.

    python examples/plain_loop.py               # 15 seconds
    python examples/plain_loop.py --steps 60    # seconds
"""

from __future__ import annotations

import argparse
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unroll.encoders import RecurrentEncoder, pool

SHAPES = ("sine", "square", "sawtooth")
SHORTEST, LONGEST = 20, 60  # steps
NOISE = 0.5  # standard deviation; the waves lie between -1 and 1


class WaveClassifier(nn.Module):
    """A bidirectional GRU, its outputs pooled over time, and a linear layer."""

    def __init__(self, hidden_size: int = 32) -> None:
        super().__init__()
        self.encoder = RecurrentEncoder("gru", input_size=1, hidden_size=hidden_size, bidirectional=True)
        self.head = nn.Linear(2 * self.encoder.output_size, len(SHAPES))

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Return logits (rows, shapes) for waves `x` (rows, time, 1), each `lengths` (rows,) steps long."""
        output, _ = self.encoder(x, lengths)  # (rows, time, 2 x hidden_size), zero beyond each row's length
        logits: Tensor = self.head(pool(output, lengths, ["max", "mean"]))
        return logits


def make_waves(rows: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Draw waves: x (rows, time, 1), zero beyond each row's end, lengths (rows,) and the shapes' numbers (rows,)."""
    lengths = torch.randint(SHORTEST, LONGEST + 1, (rows,), generator=generator)
    labels = torch.randint(len(SHAPES), (rows,), generator=generator)
    period = 8 + 12 * torch.rand(rows, 1, generator=generator)  # steps
    start = torch.rand(rows, 1, generator=generator)  # as a share of a period
    phase = (torch.arange(int(lengths.max())) / period + start) % 1  # (rows, time), from 0 to 1 in each period
    sine = torch.sin(2 * math.pi * phase)
    waves = torch.stack([sine, sine.sign(), 2 * phase - 1])[labels, torch.arange(rows)]
    waves = waves + NOISE * torch.randn(waves.shape, generator=generator)
    inside = torch.arange(waves.size(1)) < lengths[:, None]
    return (waves * inside)[..., None], lengths, labels


@torch.no_grad()
def accuracy(model: WaveClassifier, x: Tensor, lengths: Tensor, labels: Tensor) -> float:
    """Return the share of rows whose shape the model names."""
    return float((model(x, lengths).argmax(1) == labels).float().mean())


def train(steps: int, batch_size: int = 64) -> WaveClassifier:
    """Return a model after so many optimiser steps, each on waves that are drawn for it."""
    torch.manual_seed(0)
    model = WaveClassifier()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    generator = torch.Generator().manual_seed(1)
    for step in range(1, steps + 1):
        x, lengths, labels = make_waves(batch_size, generator)
        loss = F.cross_entropy(model(x, lengths), labels)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 20 == 0:
            print(f"step {step:4}   loss {loss.item():.3f}")
    return model


def main(arguments: list[str] | None = None) -> float:
    parser = argparse.ArgumentParser(description="Train an encoder in a plain torch loop.")
    parser.add_argument("--steps", type=int, default=300, help="optimiser steps")
    torch.set_num_threads(1)  # these tensors are small: threads would mostly wait for each other
    model = train(parser.parse_args(arguments).steps)

    right = accuracy(model, *make_waves(1000, torch.Generator().manual_seed(2)))
    print(f"names the shape of {right:.1%} of 1,000 waves that it has not seen; guessing would name 33.3%")

    x, lengths, _ = make_waves(8, torch.Generator().manual_seed(3))
    together = model(x, lengths)[0]
    alone = model(x[:1, : int(lengths[0])], lengths[:1])[0]
    print(f"the first of 8 waves alone and in the batch: logits differ by {(together - alone).abs().max().item():.0e}")
    return right


if __name__ == "__main__":
    main()
