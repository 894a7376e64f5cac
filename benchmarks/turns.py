"""Ways to do the same work, measured in turns: if the machine's speed changes, it changes for all of them.

Plain torch runs in its own process with OpenMP's default settings; this package's settings would slow it down.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch

from benchmarks.request import AnyConfig
from unroll.config import to_dict

OPENMP_AS_IT_COMES = {"GOMP_SPINCOUNT": "300000"}

Way = Callable[[int], float]  # the number of a turn -> the measured figure
Figures = dict[str, list[float]]  # for each way a figure per round


def take_turns(ways: Mapping[str, Way], rounds: int, warm_up: int = 1) -> Figures:
    """Measure each way once in each of `rounds` rounds, after `warm_up` rounds that do not count."""
    figures: Figures = {name: [] for name in ways}
    for turn in range(rounds + warm_up):
        for name, way in ways.items():
            figure = way(turn)
            if turn >= warm_up:
                figures[name].append(figure)
    return figures


def ratio(figures: Figures, way: str, other: str) -> float:
    """Return the median over the rounds of one way's figure divided by another's."""
    return statistics.median(x / y for x, y in zip(figures[way], figures[other], strict=True))


def now(device: torch.device) -> float:
    """Wait until the device has done its work, and return the clock's seconds."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


PlainLoops = Callable[[str, int, int], float]  # (way, steps, turn) -> the measured figure


@contextmanager
def plain_loops(config: AnyConfig) -> Iterator[PlainLoops]:
    """Start the process `benchmarks.loops`, and yield a function that measures one of its ways."""
    command = [sys.executable, "-m", "benchmarks.loops"]
    environment = os.environ | OPENMP_AS_IT_COMES
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as loops:
        assert loops.stdin is not None and loops.stdout is not None
        orders, answers = loops.stdin, loops.stdout
        print(json.dumps(to_dict(config)), file=orders, flush=True)

        def work(way: str, steps: int, turn: int) -> float:
            print(way, turn, steps, file=orders, flush=True)
            return float(answers.readline())

        yield work
