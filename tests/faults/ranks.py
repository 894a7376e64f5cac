"""Runs in two processes, of which one is killed at a random moment: all end, and the run is resumed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.faults.kills import same, settings
from tests.faults.outcome import Outcome
from unroll.config import flat

KILLS_A_RUN = 3  # and then it may end
PATIENCE = 120  # seconds, after which a process hangs


def kill_one_of_two(folder: Path, kills: int, seed: int = 0) -> Outcome:
    """Kill one process of a run so many times: a rank, or the one that started them. Compare each run that ends
    with one left alone."""
    outcome, random_ = Outcome("kill -9, one of two processes"), random.Random(seed)
    values = settings("mysterious_island", folder) | {"task": "mysterious_island"}
    began = time.monotonic()
    whole = folder / "two_whole"
    if (code := _started(values, whole).wait()) != 0:
        raise AssertionError(f"{whole}: exit code {code}")
    length, number = time.monotonic() - began, 0
    while outcome.tried < kills:
        number += 1
        run_dir, struck = folder / f"two_{number}", 0
        while (code := _strike(values, run_dir, length, random_, struck < KILLS_A_RUN)) != 0:
            struck += 1
            outcome.tried += 1
            if code is None or struck > KILLS_A_RUN:
                outcome.lost.append(f"{run_dir}: {'a process hangs' if code is None else f'exit code {code}'}")
                break
        else:
            outcome.note("runs compared")
            if (what := same(whole, run_dir)) is not None:
                outcome.lost.append(f"{run_dir}: {what}")
        if "Traceback" in Path(f"{run_dir}.log").read_text():
            outcome.lost.append(f"{run_dir}: a traceback on the screen")
    return outcome


def _started(values: dict[str, Any], run_dir: Path) -> subprocess.Popen[bytes]:
    given = [f"{key}={value}" for key, value in flat(values).items()]
    command = [
        sys.executable,
        "-m",
        "unroll",
        "train",
        *given,
        "trainer.devices=2",
        f"run_dir={run_dir}",
        "resume=auto",
    ]
    with open(f"{run_dir}.log", "ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log)


def _strike(values: dict[str, Any], run_dir: Path, length: float, random_: random.Random, kills: bool) -> int | None:
    """Start or resume a run, kill one of its processes, and return the exit code; None if another one hangs."""
    run = _started(values, run_dir)
    if kills:
        time.sleep(random_.uniform(0, length))
        processes = [run.pid, *_children(run.pid)]
        with suppress(ProcessLookupError):
            os.kill(random_.choice(processes), signal.SIGKILL)
        ends = time.monotonic() + PATIENCE
        while any(Path(f"/proc/{process}").exists() for process in processes[1:]):
            if time.monotonic() > ends:
                return None
            time.sleep(0.05)
    return run.wait(PATIENCE)


def _children(process: int) -> list[int]:
    """The ranks that a process has started."""
    try:
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
        return [int(child) for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]
    except FileNotFoundError:
        return []
