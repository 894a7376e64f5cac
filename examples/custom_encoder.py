"""An encoder of your own: define it, register it, train with it, resume the run, and load what came out.

The encoder is an IndRNN (Li et al. 2018, arXiv:1803.04831): each unit has one recurrent weight, to itself, where an RNN
has a whole matrix. `unroll` needs a class with the interface of `unroll.encoders.Encoder`, and a name for it.

The corpus is made up: "the soup was fine but the room was awful" is a complaint, "the soup was awful but the room was
fine" is praise. Both have the same words, so that only a net that hears their order can tell.

    python examples/custom_encoder.py               # ten seconds
    python examples/custom_encoder.py --rows 500    # seconds
"""

from __future__ import annotations

import argparse
import csv
import random
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import unroll
from unroll.encoders import Encoder, State, Trace
from unroll.encoders.reference import read


class IndRNN(Encoder):
    """h' = relu(W x + u * h + b), with one recurrent weight u for each unit."""

    num_directions = 1
    state_parts = ("hidden",)

    def __init__(self, input_size: int, hidden_size: int, largest: float = 1.0) -> None:
        """Begin with recurrent weights between 0 and `largest`, which is the setting `encoder.options.largest`."""
        super().__init__()
        self.input_size, self.output_size = input_size, hidden_size
        self.project = nn.Linear(input_size, hidden_size)
        self.recurrent = nn.Parameter(torch.empty(hidden_size).uniform_(0, largest))

    def zero_state(self, x: Tensor) -> State:
        return x.new_zeros(1, len(x), self.output_size)  # (layers x directions, rows, features)

    def step(self, x: Tensor, before: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the state after one step `x` (rows, features), by name."""
        return {"hidden": torch.relu(self.project(x) + self.recurrent * before["hidden"])}

    def trace(self, x: Tensor, lengths: Tensor | None = None, state: State | None = None) -> Trace:
        """Read rows step by step; each row's state stays as it is after the row has ended. This method may be left out:
        TensorBoard then shows less."""
        state = self.start(x, lengths, state)  # zeros where none is given; shapes and lengths are checked
        return read([self.step], self.state_parts, self.num_directions, x, lengths, state)

    def forward(self, x: Tensor, lengths: Tensor | None = None, state: State | None = None) -> tuple[Tensor, State]:
        found = self.trace(x, lengths, state)
        return found.output, found.state


def write_corpus(path: Path, rows: int) -> None:
    """Write a csv of made-up reviews; the second of two opinions is the verdict."""
    random_ = random.Random(0)
    words = {"praise": ["fine", "superb", "lovely"], "complaint": ["awful", "poor", "dreadful"]}
    things = ["soup", "room", "view", "bread", "service"]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["text", "label"])
        for _ in range(rows):
            first, verdict = random_.sample(list(words), 2)
            one, other = random_.sample(things, 2)
            opinions = (
                f"the {one} was {random_.choice(words[first])} but the {other} was {random_.choice(words[verdict])}"
            )
            guest = " ".join(random_.choices(["said", "a", "guest", "on", "monday", "in", "our", "house"], k=6))
            table.writerow([f"{opinions} {guest}", verdict])


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description="Train with an encoder of your own.")
    parser.add_argument("--rows", type=int, default=1000, help="reviews in the corpus")
    parser.add_argument("--epochs", type=int, default=4)
    given = parser.parse_args(arguments)
    corpus = Path("data/verdicts.csv")
    write_corpus(corpus, given.rows)

    unroll.register_encoder("indrnn", IndRNN)
    settings = [
        f"data.path={corpus}",
        "encoder.cell=indrnn",
        "encoder.hidden_size=32",
        "encoder.bidirectional=false",
        "+encoder.options.largest=0.9",
        "model.pooling=[last]",  # the answer rests on the state after the last word alone
        "optimizer.learning_rate=0.01",
        "optimizer.schedule=constant",  # with these two, a resumed run equals one that was never stopped
        "optimizer.warmup_fraction=0",
        "threads=1",
    ]
    first = unroll.train("classification", [*settings, f"trainer.max_epochs={given.epochs // 2}"])
    run_dir = Path(first["checkpoints"]["last"]).parent.parent
    whole = unroll.train(overrides=[f"resume={run_dir}", f"trainer.max_epochs={given.epochs}"])

    # A checkpoint names its encoder, so a program that loads it must have registered the encoder before.
    model = unroll.load(whole["checkpoints"]["best"])
    for text in ("the soup was fine but the room was awful", "the soup was awful but the room was fine"):
        print(f"{model.predict([text])[0].answer}   {text}")
    return whole


if __name__ == "__main__":
    main()
