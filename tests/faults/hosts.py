"""Runs on two hosts, one process on each: they train as one process does, and end together.

The hosts are network namespaces of this machine, joined by a cable; making them takes root's rights. The processes are
started by torchrun, or with the variables that srun sets.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.faults.kills import settings
from tests.faults.outcome import Outcome
from unroll import checkpoint
from unroll.config import flat

ADDRESSES = ("10.213.77.1", "10.213.77.2")
CABLE = ("unroll-a", "unroll-b")  # its two ends
PATIENCE = 120  # seconds, after which a process hangs
ROUNDING = 1e-12  # of a weight in float64, relative to the largest
STARTERS = ("torchrun", "srun")


def hosts(folder: Path, count: int, seed: int = 0) -> Outcome:
    """Train `count` times on two hosts, in turns by each of `STARTERS`. SIGTERM to a host's process ends both after
    saving. The run is resumed, and a host's process killed, which ends the other. It is resumed again, and ends as one
    that a single process trained."""
    outcome = Outcome("two hosts")
    alone = folder / "one_host"
    if not alone.exists():
        subprocess.run([sys.executable, "-m", "unroll", *_arguments(folder, alone)], check=True, capture_output=True)
    with cable() as spaces:
        for number in range(count):
            run_dir, struck = folder / f"two_hosts_{seed}_{number}", number // len(STARTERS) % 2
            for what in (signal.SIGTERM, signal.SIGKILL, None):
                outcome.tried += 1
                logs = [Path(f"{run_dir}_{what and what.name}_{rank}.log") for rank in (0, 1)]
                started = _start(STARTERS[number % len(STARTERS)], spaces, _arguments(folder, run_dir), logs)
                if what is not None:
                    _strike(run_dir, started[struck], what)
                codes = [_code(process, log) for process, log in zip(started, logs, strict=True)]
                said = [re.findall("^error: .*", log.read_text(), re.MULTILINE) for log in logs]
                if wrong := _wrong(what, struck, codes, said) or (what is None and _unlike(alone, run_dir)):
                    outcome.lost.append(f"{logs[0]}: {wrong}: exit codes {codes}, {said}")
                outcome.note(f"ended by {what.name}" if what else "compared with one process")
            shutil.rmtree(run_dir)
    return outcome


@contextmanager
def cable() -> Iterator[list[str]]:
    """Make two hosts for this block, and yield the names of their namespaces."""
    spaces = [f"unroll-{os.getpid()}-{number}" for number in (1, 2)]
    try:
        for space in spaces:
            _ip("netns", "add", space)
        _ip("link", "add", CABLE[0], "netns", spaces[0], "type", "veth", "peer", CABLE[1], "netns", spaces[1])
        for space, end, address in zip(spaces, CABLE, ADDRESSES, strict=True):
            _ip("-n", space, "address", "add", f"{address}/24", "dev", end)
            for device in ("lo", end):
                _ip("-n", space, "link", "set", device, "up")
        yield spaces
    finally:  # the cable goes with its ends
        for space in spaces:
            with suppress(OSError):
                subprocess.run(["ip", "netns", "delete", space], check=False, capture_output=True)


def may_make_hosts() -> bool:
    """Return whether this process may make network namespaces."""
    try:
        with cable():
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


def _arguments(folder: Path, run_dir: Path) -> list[str]:
    values = settings("mysterious_island", folder)
    values["model"] |= {"input_dropout": 0.0, "output_dropout": 0.0}  # each process draws masks of its own
    values["trainer"] |= {"precision": "64-true", "max_epochs": 8}
    given = [f"{key}={value}" for key, value in flat(values).items()]
    return ["train", *given, f"run_dir={run_dir}", "resume=auto"]


def _start(
    starter: str, spaces: Sequence[str], arguments: Sequence[str], logs: Sequence[Path]
) -> list[subprocess.Popen[bytes]]:
    """Start a process on each host. They know of each other by their addresses alone."""
    started = []
    for rank, (space, log) in enumerate(zip(spaces, logs, strict=True)):
        program, given = ["-m", "unroll"], {"GLOO_SOCKET_IFNAME": CABLE[rank], "OMP_NUM_THREADS": "1"}
        if starter == "torchrun":
            numbers = {"nnodes": 2, "node-rank": rank, "nproc-per-node": 1, "master-port": 29500}
            options = [f"--{name}={value}" for name, value in numbers.items()]
            program = ["-m", "torch.distributed.run", *options, f"--master-addr={ADDRESSES[0]}", *program]
        else:
            given |= {"SLURM_JOB_ID": "20917", "SLURM_JOB_NAME": "train", "SLURM_NODELIST": "10.213.77.[1-2]"}
            given |= {"SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "1", "SLURM_NNODES": "2"}
            given |= {"SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_NUM_NODES": "2"}
            given |= {"SLURM_PROCID": str(rank), "SLURM_NODEID": str(rank), "SLURM_LOCALID": "0"}
        command = ["ip", "netns", "exec", space, sys.executable, *program, *arguments]
        with log.open("wb") as file:
            started.append(subprocess.Popen(command, env=os.environ | given, stdout=file, stderr=file))
    return started


def _strike(run_dir: Path, process: subprocess.Popen[bytes], what: signal.Signals) -> None:
    """Send a signal to the process that trains on a host, which torchrun has started: after two more saves, so that the
    run is resumed where it was."""
    last = run_dir / "checkpoints" / "last.ckpt"
    ends, saves, saved = time.monotonic() + PATIENCE, 0, last.stat().st_mtime_ns if last.exists() else 0
    while saves < 2 and process.poll() is None and time.monotonic() < ends:
        now = last.stat().st_mtime_ns if last.exists() else 0
        saves, saved = saves + (now != saved), now
        time.sleep(0.01)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    trains = [int(child) for child in children if b"unroll" in Path(f"/proc/{child}/cmdline").read_bytes()]
    os.kill(trains[0] if trains else process.pid, what)


def _code(process: subprocess.Popen[bytes], log: Path) -> int | None:
    """Return the exit code of the process that trained on a host, which torchrun tells; None where one hangs."""
    try:
        code = process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        return None
    told = re.findall(r"exitcode\s*: (-?\d+)", log.read_text())
    return int(told[-1]) if told else code


def _wrong(
    what: signal.Signals | None, struck: int, codes: Sequence[int | None], said: Sequence[Sequence[str]]
) -> str | None:
    """Return what is wrong with how two processes ended.

    Args:
        what: the signal that one was sent, or None.
        struck: which of the two.
        codes: their exit codes.
        said: the errors that each has printed.
    """
    other = 1 - struck
    if what is None:
        return None if list(codes) == [0, 0] and not any(said) else "did not end"
    if what == signal.SIGTERM:
        as_it_should = list(codes) == [143, 143] and sum(map(len, said)) >= 1
        return None if as_it_should else "did not end with 143"
    as_it_should = codes[struck] == -signal.SIGKILL and codes[other] == 1 and len(said[other]) == 1
    return None if as_it_should else "did not end with one line"


def _unlike(alone: Path, run_dir: Path) -> str | None:
    """Return the weight that differs between two runs."""
    one, other = (checkpoint.load(folder / "checkpoints" / "last.ckpt") for folder in (alone, run_dir))
    if one["global_step"] != other["global_step"]:
        return "other steps"
    for name, weight in one["state_dict"].items():
        if (weight - other["state_dict"][name]).abs().max() > ROUNDING * weight.abs().max():
            return f"{name} differs"
    return None
