"""Runs that are killed at random moments, and resumed until they end."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import torch

from tests.faults.outcome import Outcome
from tests.settings import from_dict
from unroll import checkpoint
from unroll.errors import CheckpointError

# A process that has imported everything, and of which each run is a copy.
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["tests.faults.preload"])

KILLS_A_RUN = 6  # and then it may end


def settings(task: str, folder: Path) -> dict[str, Any]:
    """Of a small run with drop-out that saves at every step, so that many kills strike a save."""
    text = folder / "text.txt"
    common: dict[str, Any] = {
        "checkpoint": {"every_n_steps": 1},
        "diagnostics": {"every_n_steps": 5},
        "trainer": {"max_epochs": 3, "log_every_n_steps": 4, "gradient_clip_val": 0.5, "accelerator": "cpu"},
    }
    if task == "imdb":
        from tests.conftest import write_reviews

        if not (folder / "reviews.csv").exists():
            write_reviews(folder / "reviews.csv", 300)
        return common | {
            "data": {"path": str(folder / "reviews.csv"), "folder": str(folder / "data"), "max_length": 20},
            "model": {"embedding_size": 12, "dropout": 0.3},
            "encoder": {"hidden_size": 12, "bidirectional": True},
        }
    text.write_text("the sea and the island and the captain " * 20)
    return common | {
        "task": task,
        "data": {"path": str(text), "batch_size": 3, "random_offset": True},
        "model": {"embedding_size": 8, "input_dropout": 0.2},
        "encoder": {"hidden_size": 16},
        "tbptt": {"window": 16},
    }


def run(values: dict[str, Any], run_dir: str, largest: int | None = None, log_file: str | None = None) -> None:
    """Train, or resume the run if it has been saved; what it says goes to a file. No other file of it may become
    larger than so many bytes."""
    from torch.utils.tensorboard import SummaryWriter

    from unroll import cli
    from unroll.config import Config
    from unroll.progress import display
    from unroll.training.start import train

    with open(log_file or f"{run_dir}.log", "a") as log:  # not in the folder: it has to be unused
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)

        if largest is not None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # an error then, as on a full disk
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest, resource.RLIM_INFINITY))

        SummaryWriter.add_figure = lambda *_: None  # type: ignore[method-assign]  # half of a small run's time

        def main() -> None:
            from rich.console import Console

            torch.set_num_threads(1)
            saved = (Path(run_dir) / "checkpoints" / "last.ckpt").exists()
            with display(Console(file=log)):
                train(Config(resume=run_dir) if saved else from_dict(values | {"run_dir": run_dir}))

        code = cli.run(main)
        log.flush()
    os._exit(code)


def start(values: dict[str, Any], run_dir: Path, largest: int | None = None) -> Any:
    if not (run_dir / "checkpoints" / "last.ckpt").exists():
        shutil.rmtree(run_dir, ignore_errors=True)  # killed before anything was saved: nothing is lost
    process = SERVER.Process(target=run, args=(values, str(run_dir), largest))
    process.start()
    return process


def undisturbed(task: str, folder: Path) -> Path:
    """Return the folder of a run that is left alone; it is made once."""
    run_dir = folder / f"{task}_whole"
    if not run_dir.exists():
        process = start(settings(task, folder), run_dir)
        process.join()
        assert process.exitcode == 0, Path(f"{run_dir}.log").read_text()
    return run_dir


def same(whole: Path, other: Path) -> str | None:
    """Compare how two runs ended; return what differs."""
    one, two = (checkpoint.load(folder / "checkpoints" / "last.ckpt") for folder in (whole, other))
    for entry in ("state_dict", "optimizer_states", "lr_schedulers", "carried", "random", "global_step"):
        if not equal(one.get(entry), two.get(entry)):
            return f"{entry} differs"
    metrics = [json.loads((folder / "summary.json").read_text())["metrics"] for folder in (whole, other)]
    return None if metrics[0] == metrics[1] else "the figures differ"


def equal(one: Any, two: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return isinstance(two, torch.Tensor) and one.dtype == two.dtype and torch.equal(one, two)
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(equal(one[key], two[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(two) and all(map(equal, one, two))
    return bool(one == two)


def kill(task: str, folder: Path, kills: int, seed: int = 0) -> Outcome:
    """Kill runs of a task so many times, each at a random moment; compare each that ends with one left alone."""
    outcome, moments, number = Outcome(f"kill -9, {task}"), random.Random(seed), 0
    values = settings(task, folder)
    warm = SERVER.Process(target=int)  # starting the server takes long
    warm.start()
    warm.join()
    began = time.monotonic()
    whole = undisturbed(task, folder)
    length = time.monotonic() - began
    while outcome.tried < kills:
        number += 1
        run_dir = folder / f"{task}_{seed}_{number}"
        for _ in range(min(KILLS_A_RUN, kills - outcome.tried)):
            if not strike(start(values, run_dir), moments.uniform(0, length), run_dir, outcome):
                break
        process = start(values, run_dir)
        process.join()
        if (run_dir / "summary.json").exists() and process.exitcode in (0, 2):  # 2: it was complete already
            difference = same(whole, run_dir)
        else:
            difference = f"exit code {process.exitcode}"
        outcome.note("runs compared")
        if not difference:
            shutil.rmtree(run_dir)
        else:
            outcome.lost.append(f"{run_dir}: {difference}: {Path(f'{run_dir}.log').read_text()[-2000:]}")
    return outcome


def strike(process: Any, after: float, run_dir: Path, outcome: Outcome) -> bool:
    """Kill a process after so many seconds, and look at what it leaves. Return False where it had ended before."""
    process.join(after)
    if process.exitcode is not None:
        return False
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    outcome.tried += 1
    if list((run_dir / "checkpoints").glob(".*.tmp")):
        outcome.note("in a save")
    inspect(run_dir, outcome)
    return True


def inspect(run_dir: Path, outcome: Outcome) -> None:
    """Count a loss for each checkpoint that does not load, and for a traceback on the screen."""
    for path in (run_dir / "checkpoints").glob("*.ckpt"):
        try:
            checkpoint.load(path)
        except CheckpointError as error:
            outcome.lost.append(str(error))
    log = Path(f"{run_dir}.log")  # not there where the process had hardly begun
    if log.exists() and "Traceback" in log.read_text():
        outcome.lost.append(f"{run_dir}: a traceback on the screen")
