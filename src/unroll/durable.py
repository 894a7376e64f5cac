"""Files that are either wholly there or not there at all, whatever interrupts the write."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file beside `path` for writing bytes; it takes the place of `path` when the block ends.

    The bytes are on the disk before the name changes (fsync, `os.replace`, fsync of the folder), so that `path` is
    the old file or the new one at every moment. A block that raises leaves `path` as it was and no temporary file.

    Raises:
        OSError: the folder can't be made or written, or the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())  # mkstemp's 0600 would hide the result from everyone else
        os.replace(temporary, path)
    except BaseException:
        with suppress(FileNotFoundError):
            temporary.unlink()
        raise
    _sync_folder(path.parent)


def keep(path: Path, as_: Path) -> None:
    """Give the file `path`, where there is one, the second name `as_`, so that it outlives its replacement."""
    if path.exists():
        temporary = as_.with_name(f".{as_.name}.tmp")
        temporary.unlink(missing_ok=True)
        try:
            os.link(path, temporary)
        except OSError:  # some file systems know one name a file
            shutil.copyfile(path, temporary)
        os.replace(temporary, as_)


def clear(folder: Path, seconds: float = 3600) -> None:
    """Delete the temporary files that killed processes have left in a folder: those older than so many seconds, where
    another process may be writing."""
    for path in folder.glob(".*.tmp"):
        with suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime >= seconds:
                path.unlink()


def write_text(path: Path, text: str) -> None:
    """Write `text` in UTF-8 as the whole content of `path`, by `replacing`."""
    with replacing(path) as file:
        file.write(text.encode())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    """Make the new name itself survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
