"""Files that are complete or absent, whatever interrupts the write."""

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
    """Open a temporary file beside `path` for writing bytes. It replaces `path` when the block ends.

    The bytes are on the disk before the name changes (fsync, `os.replace`, fsync of the folder): at every moment `path`
    is the old file or the new one. If the block raises, `path` stays as it was and the temporary file is deleted.

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
    _sync(path.parent)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Make a temporary folder beside `path` to write into. It becomes `path` when the block ends. If the block raises,
    it is deleted.

    Raises:
        OSError: `path` is there already and is no empty folder, or its parent can't be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp"))
    try:
        yield temporary
        temporary.chmod(0o777 & ~_umask())
        if path.exists():
            path.rmdir()  # which refuses where it is not empty
        os.rename(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    _sync(path.parent)


def keep(path: Path, as_: Path) -> None:
    """Give the file `path`, if it exists, the second name `as_`: it then stays when `path` is replaced."""
    if path.exists():
        temporary = as_.with_name(f".{as_.name}.tmp")
        temporary.unlink(missing_ok=True)
        try:
            os.link(path, temporary)
        except OSError:  # some file systems have no hard links
            shutil.copyfile(path, temporary)
        os.replace(temporary, as_)


def clear(folder: Path, seconds: float = 3600) -> None:
    """Delete the temporary files and folders that killed processes left in a folder. Those younger than `seconds` stay:
    another process may be writing them."""
    for path in folder.glob(".*.tmp"):
        with suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime >= seconds:
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def write_text(path: Path, text: str) -> None:
    """Replace the content of `path` by `text` in UTF-8, see `replacing`."""
    with replacing(path) as file:
        file.write(text.encode())


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask


def _sync(folder: Path) -> None:
    """Have a folder's entries survive a power cut too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
