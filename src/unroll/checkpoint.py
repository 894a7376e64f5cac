"""The file format of a trained model: one file of tensors and plain data, written atomically, loaded safely.

It is what `torch.save` writes, and behind that the SHA-256 of it: torch alone would load a file in which a bit has
flipped without a word.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import torch

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
    "data": dict,  # source, origin, fingerprint, …
    "versions": dict,
    "state_dict": dict,  # of Tensor
}


def save(content: dict[str, Any], path: Path) -> None:
    """Write `content` such that `path` is, at every moment, the old file or the new one.

    Raises:
        OSError: the folder can't be written, or the disk is full; `path` is then as it was.
    """
    with replacing(path) as file:
        hashing = _Hashing(file)
        torch.save(content, cast(IO[bytes], hashing))
        file.write(_MARK + hashing.digest.hexdigest().encode())


class _Hashing:
    """A file to write to, that keeps the SHA-256 of all that was written."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.digest = file, hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        return self.file.write(data)

    def flush(self) -> None:
        self.file.flush()


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint as data: nothing in it is executed.

    Raises:
        CheckpointError: there is no such file, it is damaged or holds anything but tensors and plain data, or it was
            not written by this package.
    """
    foreign = f"{path}: damaged, or not a checkpoint of unroll; nothing in it was run"
    try:
        with path.open("rb") as file:
            whole = _is_whole(file) and _is_plain(file)
        content = torch.load(path, map_location="cpu", weights_only=True) if whole else None
    except FileNotFoundError:
        raise CheckpointError(
            f"{path}: there is no such checkpoint; a run keeps its own in RUN_DIR/checkpoints/"
        ) from None
    except OSError as error:
        raise CheckpointError(f"{path}: can't be read ({error.strerror}); name a file such as best.ckpt") from error
    except Exception as error:  # torch's zip reader and unpickler raise many kinds; each means the same to the user
        raise CheckpointError(foreign) from error
    if not whole:
        raise CheckpointError(foreign)
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: not a checkpoint of unroll; it holds a {type(content).__name__}")
    for key, kind in SCHEMA.items():
        if not isinstance(content.get(key), kind):
            raise CheckpointError(
                f"{path}: not a checkpoint of unroll; its entry '{key}' is missing or no {kind.__name__}"
            )
    if content["format"] not in READABLE:
        raise CheckpointError(
            f"{path}: has format {content['format']}, this version reads {' and '.join(map(str, READABLE))}; upgrade "
            "unroll"
        )
    return content


def _is_whole(file: BinaryIO) -> bool:
    """Return whether a file ends with the SHA-256 of what stands before."""
    left = file.seek(0, os.SEEK_END) - _TRAILER
    digest = hashlib.sha256()
    file.seek(0)
    while left > 0 and (part := file.read(min(left, 2**20))):
        digest.update(part)
        left -= len(part)
    return left == 0 and file.read() == _MARK + digest.hexdigest().encode()


def _is_plain(file: BinaryIO) -> bool:
    """Return whether a file is a zip archive of entries as large as they claim to be, none of them compressed."""
    with zipfile.ZipFile(file) as archive:
        return all(entry.compress_type == zipfile.ZIP_STORED for entry in archive.infolist())
