"""Arrays in one file, with plain values beside them: the first is written bit by bit, and all are read by memory map.

The arrays follow each other, each at a multiple of 8 bytes. Then come, as JSON, what describes them and the values, the
length of that (8 bytes), and the CRC-32 of all before (4 bytes). A CRC finds what a disk or a killed process may do to
a file; it takes 0.7 s for a gigabyte, half the time of a SHA-256.
"""

from __future__ import annotations

import json
import mmap
import os
import zlib
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

ALIGNMENT, LENGTH, CHECK = 8, 8, 4  # bytes
AT_ONCE = 2**20  # bytes that are read, or values that are made narrower or written, at a time

Array = npt.NDArray[Any]


class Column:
    """An array that grows on disk, in an empty file."""

    def __init__(self, file: BinaryIO, dtype: npt.DTypeLike) -> None:
        self._file, self._dtype, self._count = file, np.dtype(dtype), 0

    def __len__(self) -> int:
        return self._count

    def append(self, values: Array) -> None:
        self._count += len(values)
        self._file.write(values.astype(self._dtype).data)

    def array(self) -> Array:
        """Return all values so far, as a map of the file."""
        self._file.flush()
        return np.memmap(self._file, self._dtype, "r") if self._count else np.zeros(0, self._dtype)


def narrow(file: BinaryIO, count: int, wide: np.dtype[Any], width: np.dtype[Any]) -> None:
    """Make `count` values, which are all that a file holds, take fewer bytes each."""
    file.flush()
    if width.itemsize == wide.itemsize:
        return
    for start in range(0, count, AT_ONCE):
        some = min(AT_ONCE, count - start)
        values = np.frombuffer(os.pread(file.fileno(), some * wide.itemsize, start * wide.itemsize), wide)
        file.seek(start * width.itemsize)
        file.write(values.astype(width).tobytes())
        file.flush()
    file.truncate()


def finish(file: BinaryIO, first: tuple[str, np.dtype[Any], int], arrays: Mapping[str, Array], about: Any) -> None:
    """Write what follows the first array, which is there already.

    Args:
        file: open to be read and written, at its end.
        first: the array's name, its type, and its length.
        arrays: those that follow, one-dimensional, by their names.
        about: plain values.
    """
    places, size = {first[0]: (first[1].str, first[2], 0)}, first[1].itemsize * first[2]
    for name, array in arrays.items():
        size += file.write(bytes(-size % ALIGNMENT))
        places[name] = (array.dtype.str, len(array), size)
        for start in range(0, len(array), AT_ONCE):
            size += file.write(array[start : start + AT_ONCE].data)
            give_back(array)
    text = json.dumps([places, about]).encode()
    file.write(text + len(text).to_bytes(LENGTH, "little"))
    file.write(_sum(file, size + len(text) + LENGTH).to_bytes(CHECK, "little"))
    file.flush()


def read(file: BinaryIO) -> tuple[dict[str, Array], Any]:
    """Return the arrays, as maps that stay when the file is closed, and the values.

    Raises:
        ValueError: the file is damaged.
    """
    size = file.seek(0, os.SEEK_END)
    tail = os.pread(file.fileno(), LENGTH + CHECK, max(0, size - LENGTH - CHECK))
    if len(tail) < LENGTH + CHECK or _sum(file, size - CHECK) != int.from_bytes(tail[LENGTH:], "little"):
        raise ValueError("its checksum is wrong")
    length = int.from_bytes(tail[:LENGTH], "little")
    places, about = json.loads(os.pread(file.fileno(), length, size - CHECK - LENGTH - length))
    arrays = {
        name: np.memmap(file, dtype, "r", place, length) if length else np.zeros(0, dtype)
        for name, (dtype, length, place) in places.items()
    }
    return arrays, about


def give_back(array: Array) -> None:
    """Let the system take the memory of an array that is a map. What is read again comes from the file."""
    if isinstance(array.base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        array.base.madvise(mmap.MADV_DONTNEED)


def _sum(file: BinaryIO, size: int) -> int:
    """The CRC-32 of the first `size` bytes."""
    file.flush()
    check = 0
    for start in range(0, size, AT_ONCE):
        check = zlib.crc32(os.pread(file.fileno(), min(AT_ONCE, size - start), start), check)
    return check
