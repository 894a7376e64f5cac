"""Parquet written by hand, so that it can state sizes that no writer would."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

NONE, GZIP, ZSTD = 0, 2, 6  # codecs
PLAIN, DELTA_LENGTHS, DELTA_STRINGS, DICTIONARY = 0, 6, 7, 8  # encodings
I32, I64, BINARY, LIST, STRUCT = 5, 6, 8, 9, 12  # Thrift's types

Field = tuple[int, int | bytes]


def varint(number: int) -> bytes:
    low, rest = number & 127, number >> 7
    return bytes([low | 128]) + varint(rest) if rest else bytes([low])


def zigzag(number: int) -> bytes:
    return varint(number << 1 ^ number >> 63)


def structure(fields: Mapping[int, Field]) -> bytes:
    """A structure of Thrift's compact protocol: by field number, a type and a value."""
    result, last = b"", 0
    for number, (kind, value) in fields.items():
        result += bytes([number - last << 4 | kind])
        result += zigzag(value) if isinstance(value, int) else varint(len(value)) + value if kind == BINARY else value
        last = number
    return result + b"\0"


def entries(kind: int, values: Sequence[bytes]) -> bytes:
    return bytes([0xF0 | kind]) + varint(len(values)) + b"".join(values)


def page(content: bytes, values: int, encoding: int = PLAIN, size: int | None = None, *, kind: int = 0) -> bytes:
    """A page, of a dictionary if `kind` is 2; `size` is what it claims to expand to."""
    inner: dict[int, Field] = {1: (I32, values), 2: (I32, encoding)}
    if kind == 0:
        inner |= {3: (I32, 3), 4: (I32, 3)}  # RLE levels
    sizes: dict[int, Field] = {1: (I32, kind), 2: (I32, len(content) if size is None else size), 3: (I32, len(content))}
    return structure({**sizes, 5 if kind == 0 else 7: (STRUCT, structure(inner))}) + content


def dictionary(text: bytes, values: int = 1) -> bytes:
    """A dictionary's page with one text, which claims to hold so many."""
    return page(plain(text), values, kind=2)


def indices(rows: int) -> bytes:
    """A page that names a dictionary's first entry so many times, in six bytes."""
    return page(b"\1" + varint(rows << 1) + b"\0", rows, DICTIONARY)


def plain(*texts: bytes) -> bytes:
    return b"".join(len(text).to_bytes(4, "little") + text for text in texts)


def delta(numbers: Sequence[int]) -> bytes:
    """Numbers in the encoding DELTA_BINARY_PACKED."""
    result = varint(128) + varint(1) + varint(len(numbers)) + zigzag(numbers[0])
    differences = [after - before for before, after in pairwise(numbers)]
    for start in range(0, len(differences), 128):
        block = differences[start : start + 128]
        above = [number - min(block) for number in block]
        width = max(above).bit_length()
        packed = sum(number << width * place for place, number in enumerate(above))
        result += zigzag(min(block)) + bytes([width]) + packed.to_bytes(128 * width // 8, "little")
    return result


def table(columns: Mapping[str, tuple[bytes, bytes]], rows: int, codec: int = NONE) -> bytes:
    """A file with one row group; each column of texts is its dictionary's page, if it has one, and its data pages."""
    content, chunks = b"PAR1", []
    for name, (first, data) in columns.items():
        start = len(content)
        content += first + data
        fields: dict[int, Field] = {
            1: (I32, 6),
            2: (LIST, entries(I32, [zigzag(PLAIN)])),
            3: (LIST, entries(BINARY, [varint(len(name)) + name.encode()])),
            4: (I32, codec),
            5: (I64, rows),
            6: (I64, len(first + data)),
            7: (I64, len(first + data)),
            9: (I64, start + len(first)),
        }
        if first:
            fields[11] = I64, start
        chunks.append(structure({2: (I64, 0), 3: (STRUCT, structure(fields))}))
    group = structure({1: (LIST, entries(STRUCT, chunks)), 2: (I64, len(content)), 3: (I64, rows)})
    return content + footer([column(name) for name in columns], rows, [group])[4:]


def column(name: str) -> bytes:
    """A column of strings, none of them null, in a footer."""
    return structure({1: (I32, 6), 3: (I32, 0), 4: (BINARY, name.encode()), 6: (I32, 0)})


def footer(columns: Sequence[bytes], rows: int = 0, groups: Sequence[bytes] = ()) -> bytes:
    """A file that is a footer alone."""
    root = structure({4: (BINARY, b"schema"), 5: (I32, len(columns))})
    schema = entries(STRUCT, [root, *columns])
    content = structure({1: (I32, 1), 2: (LIST, schema), 3: (I64, rows), 4: (LIST, entries(STRUCT, groups))})
    return b"PAR1" + content + len(content).to_bytes(4, "little") + b"PAR1"
