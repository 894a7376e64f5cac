"""The folder of a run: claimed for one process at a time."""

from __future__ import annotations

import datetime
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from unroll import durable
from unroll.config import LOGGERS, Config
from unroll.errors import CheckpointError, ConfigError

_LOCK = ".lock"
_WRITTEN = {"config.yaml", "summary.json", "error.log", "checkpoints", *LOGGERS}  # by a run, in its folder


@contextmanager
def claimed(config: Config, *, anew: bool = False) -> Iterator[Path]:
    """Return the folder of the run that the settings describe, locked for as long as the block lasts.

    The lock is the operating system's: it ends with the process, however that ends. A new run has a new folder or an
    empty one; if nothing is written into it, it is removed again. With `anew` it may have the folder of a run that
    ended before it saved, too: what that has written is deleted.

    Raises:
        CheckpointError: the run to resume is not there.
        ConfigError: another process uses the folder, or something is in the folder of a new run.
    """
    if config.resume is not None:
        folder, made = Path(config.resume), []
        if not folder.is_dir():
            raise CheckpointError(f"{folder}: there is no such run; name the run_dir of one, as it was printed")
    elif config.run_dir is not None:
        folder = Path(config.run_dir)
        made = _made(folder)
    else:
        folder, made = _dated(Path("runs") / config.task)
    if config.resume is None and not anew and not (folder / _LOCK).exists():
        _check_empty(folder)
    lock = FileLock(folder / _LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise ConfigError(
            f"{folder}: another process trains in this folder; wait until it ends, or name another run_dir"
        ) from None
    try:
        if config.resume is None:
            if anew:
                _delete_unsaved(folder)
            _check_empty(folder)
        yield folder
    finally:
        if config.resume is None and [path.name for path in folder.iterdir()] == [_LOCK]:
            (folder / _LOCK).unlink()
        lock.release()
        for path in reversed(made):
            with suppress(OSError):  # something is in it
                path.rmdir()


def _check_empty(folder: Path) -> None:
    if any(path.name != _LOCK for path in folder.iterdir()):
        raise _in_use(folder)


def _delete_unsaved(folder: Path) -> None:
    """Delete what a run has written that ended before it saved. Of any other folder nothing is deleted."""
    checkpoints = folder / "checkpoints"
    for place in (folder, checkpoints):
        durable.clear(place, seconds=0)
    here = {path.name for path in folder.iterdir()} - {_LOCK}
    saved = {path.name for path in checkpoints.glob("*")} - {"best.ckpt"}
    if "config.yaml" in here and not here - _WRITTEN and not saved:
        for name in here:
            path = folder / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _in_use(folder: Path) -> ConfigError:
    return ConfigError(f"run_dir={folder}: something is there already; name a new folder, or delete that one")


def _made(folder: Path) -> list[Path]:
    """Make a folder and those above it, and return the new ones, the uppermost first."""
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    if folder.exists() and not folder.is_dir():
        raise _in_use(folder)
    folder.mkdir(parents=True, exist_ok=True)
    return made[::-1]


def _dated(parent: Path) -> tuple[Path, list[Path]]:
    """Make a new folder named by the date and time, and by a number where two runs start in one second."""
    above = _made(parent)
    stamp = datetime.datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    for number in range(1, sys.maxsize):
        folder = parent / (stamp if number == 1 else f"{stamp}_{number}")
        with suppress(FileExistsError):
            os.mkdir(folder)
            return folder, [*above, folder]
    raise AssertionError("unreachable")
