"""Ctrl-C at any moment of a command's start: from the package's first line on, it ends at once, with one line."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import write_reviews
from tests.faults.outcome import Outcome

PATIENCE = 60.0  # seconds; a process that takes longer has swallowed the signal


def interrupts(folder: Path, count: int, step: float = 0.05, seed: int = 0) -> Outcome:
    """Interrupt training `count` times, each time `step` seconds later, until training itself has begun; then from the
    beginning again."""
    outcome, waits = Outcome("interrupted at the start"), iter(_waits(step))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background it is ignored, and so in children
    write_reviews(folder / "interrupted.csv", 400)
    for number in range(count):
        run_dir = folder / f"interrupted_{seed}_{number}"
        command = [sys.executable, "-m", "unroll", "train", "task=imdb", f"data.path={folder}/interrupted.csv"]
        command += [f"run_dir={run_dir}", f"data.folder={folder}", "trainer.max_epochs=1000", "encoder.hidden_size=8"]
        wait = next(waits)
        outcome.tried += 1
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            time.sleep(wait)
            process.send_signal(signal.SIGINT)
            try:
                _, error = process.communicate(timeout=PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                outcome.lost.append(f"after {wait:.2f} s: swallowed")
                continue
        if "resume it: " in error:  # training had begun
            waits = iter(_waits(step))
            outcome.note("saved")
            expected = process.returncode == 130 and error.count("\n") == 1
        elif process.returncode == -signal.SIGINT and "unroll" not in error:
            # Before the first line of the package; where Python says something of it, it is Python's own traceback.
            outcome.note("before Python had started" if not error else "while Python itself started")
            expected = True
        else:
            outcome.note("while it started")
            expected = process.returncode == 130 and error == "error: interrupted\n"
        if not expected:
            outcome.lost.append(f"after {wait:.2f} s: exit code {process.returncode}: {error[-300:]!r}")
    return outcome


def _waits(step: float) -> Iterator[float]:
    wait = 0.0
    while True:
        yield wait
        wait += step
