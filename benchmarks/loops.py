"""Loops in plain torch, in a process of their own with torch's own settings.

`python -m benchmarks.loops` reads the config of a run from standard input (JSON, one line), then lines `WAY TURN
STEPS`. It answers each line with what it measured for that way.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

import torch

from benchmarks import plain_classifier, plain_language_model
from benchmarks.request import AnyConfig
from unroll.config import ClassificationConfig
from unroll.tasks.spec import from_dict


def make_ways(config: AnyConfig) -> dict[str, Callable[[int, int], float]]:
    """Return the plain loops of a task: functions (turn, steps) -> the measured figure."""
    if isinstance(config, ClassificationConfig):
        return plain_classifier.make_ways(config)
    return plain_language_model.make_ways(config)


def main() -> None:
    config = from_dict(json.loads(sys.stdin.readline()))
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    ways = make_ways(config)
    for order in sys.stdin:
        way, turn, steps = order.split()
        print(ways[way](int(turn), int(steps)), flush=True)


if __name__ == "__main__":
    main()
