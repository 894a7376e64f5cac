"""A training run of this package that waits for its turns, in a process of its own: `benchmarks.peers` starts it.

It reads the config from standard input (JSON, one line), says its version, then trains for one epoch for each further
line, and answers with a line of JSON: the tokens, the seconds, and the validation figure.
"""

from __future__ import annotations

import json
import sys
from contextlib import redirect_stdout
from typing import TextIO

from unroll import __version__, cli, runtime
from unroll.tasks.spec import TASKS, from_dict, load_data


def main() -> None:
    config = from_dict(json.loads(sys.stdin.readline()))
    runtime.configure(config.threads, full_windows=TASKS[config.kind].full_windows)
    from benchmarks.runs import InTurns, fit

    def say(answer: object, file: TextIO = sys.stdout) -> None:
        print(json.dumps(answer), file=file, flush=True)

    with redirect_stdout(sys.stderr):  # what a run prints must not be read as an answer
        data = load_data(config)
        say(f"unroll {__version__}")
        fit(config, data, InTurns(wait=sys.stdin.readline, say=say))


if __name__ == "__main__":
    sys.exit(cli.run(main))
