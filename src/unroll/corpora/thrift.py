"""Thrift's compact protocol, in which the footer of a parquet file and the headers of its pages are written.

pyarrow allocates what these structures state, and has no limit on memory. `Thrift` reads them first, and keeps only
numbers and structures. https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from __future__ import annotations

from typing import BinaryIO

Structure = dict[int, "int | Structure | list[Structure]"]
"""Field numbers and values: an integer, a structure, a list of structures, or how long any other value is."""

_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT, _UUID = 1, 2, 3, 7, 8, 9, 10, 11, 12, 13
_INTEGERS = (4, 5, 6)  # of 16, 32 and 64 bits
_DEEPEST = 32


class Thrift:
    """Reads structures from a stream, from where it stands."""

    def __init__(self, stream: BinaryIO, most_entries: int) -> None:
        """Allow so many structures, and entries of lists, sets and maps, in all."""
        self._stream, self._left = stream, most_entries

    def structure(self, depth: int = 0) -> Structure:
        """Read a structure.

        Raises OverflowError for too many entries, and ValueError where there is no structure, or one with a field
        twice: readers differ in which of the two they believe.
        """
        if depth > _DEEPEST:
            raise ValueError("too deep")
        self._take(1)
        fields: Structure = {}
        number = 0
        while (head := self._byte()) & 15:
            number = number + (head >> 4) if head >> 4 else self._integer()
            if number in fields:
                raise ValueError("a field twice")
            fields[number] = self._value(head & 15, depth, in_list=False)
        return fields

    def _value(self, kind: int, depth: int, *, in_list: bool) -> int | Structure | list[Structure]:
        if kind in _INTEGERS:
            return self._integer()
        if kind == _STRUCT:
            return self.structure(depth + 1)
        if kind in (_LIST, _SET):
            head = self._byte()
            length = head >> 4 if head >> 4 < 15 else self._varint()
            return self._entries(length, (head & 15,), depth)
        if kind == _MAP:
            length = self._varint()
            kinds = self._byte() if length else 0
            return self._entries(length, (kinds >> 4, kinds & 15), depth)
        length = self._varint() if kind == _BINARY else {_DOUBLE: 8, _UUID: 16, _BYTE: 1}.get(kind, int(in_list))
        if (
            kind not in (_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _UUID)
            or len(self._stream.read(min(length, 2**31))) < length
        ):
            raise ValueError("damaged")
        return length

    def _take(self, entries: int) -> None:
        self._left -= entries
        if self._left < 0:
            raise OverflowError("too many entries")

    def _entries(self, length: int, kinds: tuple[int, ...], depth: int) -> int | list[Structure]:
        if kinds == (_STRUCT,):
            return [self.structure(depth + 1) for _ in range(length)]
        self._take(length)
        for _ in range(length):
            for kind in kinds:
                self._value(kind, depth + 1, in_list=True)
        return length

    def _integer(self) -> int:
        value = self._varint()
        return value >> 1 ^ -(value & 1)

    def _varint(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise ValueError("damaged")

    def _byte(self) -> int:
        byte = self._stream.read(1)
        if not byte:
            raise ValueError("cut off")
        return byte[0]
