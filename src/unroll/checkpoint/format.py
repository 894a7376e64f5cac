"""A trained model in one file of tensors and plain data. It is written atomically and read safely.

The file is what `torch.save` writes, followed by its SHA-256: torch would not notice a flipped bit.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from unroll.durable import replacing
from unroll.errors import CheckpointError

FORMAT, READABLE = 3, (2, 3)

_MARK = b"\nsha256:"
_TRAILER = len(_MARK) + 64  # bytes: the mark and 64 hexadecimal digits

# What a checkpoint holds besides Lightning's own entries and those of its task (vocabulary, labels, …).
SCHEMA: dict[str, type] = {
    "format": int,
    "task": str,
    "config": dict,  # plain values, see `unroll.tasks.spec.settings_of`
    "data": dict,  # what `TaskData.describe` gave
    "data.source": str,
    "data.origin": str,
    "data.fingerprint": str,
    "versions": dict,
    "state_dict": dict,  # of Tensor
}


def save(content: dict[str, Any], path: Path) -> None:
    """Write `content` to `path`. At every moment `path` is the old file or the new one.

    Raises:
        OSError: the folder can't be written, or the disk is full; `path` is then as it was.
    """
    import torch  # here, as in `load`: a program that uses an exported folder has no use for it

    with replacing(path) as file:
        hashing = _Hashing(file)
        torch.save(content, cast(IO[bytes], hashing))
        file.write(_MARK + hashing.digest.hexdigest().encode())


class _Hashing:
    """A file to write to, with the SHA-256 of all that was written."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.digest = file, hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        return self.file.write(data)

    def flush(self) -> None:
        self.file.flush()


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint as data: nothing in it is executed, and no part of it becomes larger than the file.

    Raises:
        CheckpointError: there is no such file, it is damaged or holds anything but tensors and plain data, or it was
            not written by this package.
    """
    import torch

    from unroll.checkpoint import archive

    foreign = f"{path}: damaged, or not a checkpoint of unroll"
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe may have no end
            raise CheckpointError(f"{path}: can't be read (it is no regular file); name a file such as best.ckpt")
        with path.open("rb") as file:
            if not _is_whole(file):
                raise CheckpointError(f"{foreign}; nothing in it was run")
            archive.check(file)
            file.seek(0)
            content = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(
            f"{path}: there is no such checkpoint; a run keeps its own in RUN_DIR/checkpoints/; novel comes with unroll"
        ) from None
    except OSError as error:
        raise CheckpointError(f"{path}: can't be read ({error.strerror}); name a file such as best.ckpt") from error
    except CheckpointError:
        raise
    except MemoryError as error:
        raise CheckpointError(f"{path}: there is not enough memory for it; close other programs") from error
    except archive.Refused as error:
        raise CheckpointError(f"{foreign} ({error}); nothing in it was run") from error
    except Exception as error:  # a damaged file raises errors of many kinds; each means the same to the user
        raise CheckpointError(f"{foreign}; nothing in it was run") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: not a checkpoint of unroll; it holds a {type(content).__name__}")
    try:
        check(content)
    except ValueError as error:
        raise CheckpointError(f"{path}: not a checkpoint of unroll; {error}") from error
    if content["format"] not in READABLE:
        raise CheckpointError(
            f"{path}: has format {content['format']}, this version reads {' and '.join(map(str, READABLE))}; upgrade "
            "unroll"
        )
    return content


def check(content: Mapping[str, Any]) -> None:
    """Raise ValueError where an entry that every checkpoint has is missing, or of another type."""
    for name, kind in SCHEMA.items():
        entry(content, name, kind)
    entry(content, "versions", dict, of=str)


def entry(content: Mapping[str, Any], name: str, kind: type, of: type = object) -> Any:
    """Return an entry of a checkpoint, or one inside of another (`data.origin`).

    Args:
        content: of the checkpoint.
        name: the entry's key, or its keys with dots between them.
        kind: the entry's type.
        of: the type of what a list or a dictionary holds.

    Raises:
        ValueError: it is missing or of another type.
    """
    value: Any = content
    for key in name.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ValueError(f"its entry '{name}' is missing or no {kind.__name__}")
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    if not all(isinstance(part, of) for part in parts):
        raise ValueError(f"its entry '{name}' holds something that is no {'string' if of is str else of.__name__}")
    return value


def _is_whole(file: BinaryIO) -> bool:
    """Return whether a file ends with the SHA-256 of what stands before."""
    left = file.seek(0, os.SEEK_END) - _TRAILER
    digest = hashlib.sha256()
    file.seek(0)
    while left > 0 and (part := file.read(min(left, 2**20))):
        digest.update(part)
        left -= len(part)
    return left == 0 and file.read() == _MARK + digest.hexdigest().encode()
