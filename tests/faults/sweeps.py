"""Sweeps whose workers are killed."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import time
from pathlib import Path
from typing import Any

import torch

from tests.conftest import write_reviews
from tests.faults.kills import SERVER
from tests.faults.outcome import Outcome

TRIALS, WORKERS, KILLS = 20, 2, 3
LONGEST = 600.0  # seconds of one sweep


def settings(folder: Path) -> list[str]:
    """Of a sweep of small runs that save at every step."""
    if not (folder / "sweep.csv").exists():
        write_reviews(folder / "sweep.csv", 300)
    return [
        f"data.path={folder / 'sweep.csv'}",
        f"data.folder={folder / 'data'}",
        "data.max_length=20",
        "model.embedding_size=12",
        "encoder.hidden_size=12",
        "trainer.max_epochs=8",
        "trainer.accelerator=cpu",
        "checkpoint.every_n_steps=1",
        "diagnostics.every_n_steps=null",
        "threads=1",
        "optimizer.learning_rate=tag(log,interval(1e-4,1e-1))",
        "encoder=choice(gru,lstm)",
        f"sweep.trials={TRIALS}",
        "sweep.pruner=none",
    ]


def work(arguments: list[str], log_file: str) -> None:
    """Be one worker of a sweep; what it says goes to a file."""
    from torch.utils.tensorboard import SummaryWriter

    from unroll import cli

    log = os.open(log_file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)
    SummaryWriter.add_figure = lambda *_: None  # type: ignore[method-assign]  # half of a small run's time
    torch.set_num_threads(1)
    code = cli.main(["sweep", *arguments])
    os._exit(code)


def sweep(folder: Path, count: int, seed: int = 0) -> Outcome:
    """Search by two workers at once, so many times. In each search three workers are killed at random moments in the
    middle of a trial, and replaced by others. All trials must end, and none begin anew."""
    outcome, moments = Outcome("kill -9, workers of a sweep"), random.Random(seed)
    for number in range(count):
        name = folder / f"sweep_{seed}_{number}"
        arguments, logs, workers = [*settings(folder), f"sweep.dir={name}"], [], []

        def begin() -> None:
            logs.append(Path(f"{name}_{len(logs)}.log"))  # noqa: B023 - it is called here alone
            workers.append((SERVER.Process(target=work, args=(arguments, str(logs[-1]))), logs[-1]))  # noqa: B023
            workers[-1][0].start()  # noqa: B023

        for _ in range(WORKERS):
            begin()
        ends = time.monotonic() + LONGEST
        for _ in range(KILLS):
            moment = time.monotonic() + moments.uniform(1, 8)
            while time.monotonic() < ends:
                process, log = moments.choice(workers)
                if time.monotonic() >= moment and process.exitcode is None and _is_training(name, log):
                    os.kill(process.pid, signal.SIGKILL)
                    process.join()
                    workers.remove((process, log))
                    outcome.tried += 1
                    begin()
                    break
                time.sleep(0.01)
        for process, log in workers:
            process.join(max(1.0, ends - time.monotonic()))
            if process.exitcode != 0:
                outcome.lost.append(f"{log}: exit code {process.exitcode}: {log.read_text()[-2000:]}")
        _inspect(name, [log.read_text() for log in logs], outcome)
    return outcome


def _is_training(name: Path, log: Path) -> bool:
    """Return whether a worker is in the middle of a trial of which something is saved."""
    begun = re.findall(r"^trial (\d+) of", log.read_text(), re.MULTILINE) if log.exists() else []
    if not begun:
        return False
    run_dir = name / "trials" / f"{int(begun[-1]):04}"
    return (run_dir / "checkpoints" / "last.ckpt").exists() and not (run_dir / "summary.json").exists()


def _inspect(name: Path, logs: list[str], outcome: Outcome) -> None:
    """Count a loss for each trial that is not complete or began anew."""
    said = "\n".join(logs)
    summaries: list[dict[str, Any]] = [
        json.loads(path.read_text()) for path in sorted((name / "trials").glob("*/summary.json"))
    ]
    complete = [summary for summary in summaries if summary["status"] == "completed"]
    if len(complete) != TRIALS or len(list((name / "trials").iterdir())) != TRIALS:
        outcome.lost.append(f"{name}: {len(complete)} of {TRIALS} trials are complete")
    if {summary["train"]["steps"] for summary in complete} != {complete[0]["train"]["steps"]}:
        outcome.lost.append(f"{name}: trials have other numbers of steps")
    begun = {int(number) for number in re.findall(r"^trial (\d+) of", said, re.MULTILINE)}
    taken = [part for log in logs for part in log.split("has lost its worker")[1:]]
    if len(taken) != KILLS or begun != set(range(TRIALS)):
        outcome.lost.append(f"{name}: {len(taken)} trials were taken over, begun were {sorted(begun)}")
    for part in taken:
        trial = re.split(r"^trial \d+ of.*$", part, flags=re.MULTILINE)[1]
        if re.search(r"resuming from step [1-9]", trial):
            outcome.note("resumed")
        elif re.search("^(epoch|trained on) ", trial, re.MULTILINE):
            outcome.lost.append(f"{name}: a trial began anew: {trial[:500]}")
        else:
            outcome.note("killed again before that")
    if "Traceback" in said:
        outcome.lost.append(f"{name}: a traceback on the screen")
    for _ in complete:
        outcome.note("trials complete")
