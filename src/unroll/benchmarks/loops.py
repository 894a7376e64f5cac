"""Loops in plain torch, in a process of their own with the settings that torch has by itself.

`python -m unroll.benchmarks.loops` reads, a line each, the settings of a run (JSON), then orders `WAY TURN STEPS`; it
answers each order with the figure of that way.
"""

from __future__ import annotations

import json
import sys

from unroll.benchmarks import plain_classifier, plain_language_model
from unroll.config import ClassificationConfig, from_dict


def main() -> None:
    config = from_dict(json.loads(sys.stdin.readline()))
    if isinstance(config, ClassificationConfig):
        ways = plain_classifier.make_ways(config)
    else:
        ways = plain_language_model.make_ways(config)
    for order in sys.stdin:
        way, turn, steps = order.split()
        print(ways[way](int(turn), int(steps)), flush=True)


if __name__ == "__main__":
    main()
