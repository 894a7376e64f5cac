"""Disks that are full before a run has ended."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

from tests.faults.kills import inspect, same, settings, start, undisturbed
from tests.faults.outcome import Outcome


def full(task: str, folder: Path, sizes: Sequence[int], mounted: bool) -> Outcome:
    """Train where there is room for so many bytes; then make room, go on, and compare.

    Args:
        task: as in a config.
        folder: for everything else.
        sizes: bytes, of a file system of its own if `mounted` (which takes the right to mount one), else of the largest
            file that a run may write.
        mounted: see `sizes`.
    """
    outcome = Outcome(f"{'full file system' if mounted else 'file too large'}, {task}")
    values, whole = settings(task, folder), undisturbed(task, folder)
    for size in sizes:
        run_dir = folder / f"{task}_{size}"
        run_dir.mkdir()
        with file_system(run_dir, size) if mounted else nullcontext():
            process = start(values, run_dir, None if mounted else size)
            process.join()
            outcome.tried += 1
            outcome.note("full" if process.exitcode == 1 else "room enough")
            log = Path(f"{run_dir}.log")
            said = log.read_text() if log.exists() else ""
            if process.exitcode not in (0, 1) or (process.exitcode == 1 and said.count("error: ") != 1):
                outcome.lost.append(f"{size}: exit code {process.exitcode}: {said[-500:]}")
            if list(run_dir.glob("checkpoints/.*.tmp")):
                outcome.lost.append(f"{size}: half a file is left")
            inspect(run_dir, outcome)
            if mounted:
                subprocess.run(["mount", "-o", "remount,size=100m", str(run_dir)], check=True)
            if process.exitcode == 1:
                process = start(values, run_dir)
                process.join()
            difference = same(whole, run_dir) if process.exitcode == 0 else f"exit code {process.exitcode}"
            if difference:
                outcome.lost.append(f"{size}: {difference}: {log.read_text()[-500:]}")
    return outcome


@contextmanager
def file_system(place: Path, size: int) -> Iterator[None]:
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(place)], check=True)


def may_mount(folder: Path) -> bool:
    place = folder / "may_mount"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(place)], capture_output=True, check=False).returncode:
        return False
    subprocess.run(["umount", str(place)], check=True)
    return True
