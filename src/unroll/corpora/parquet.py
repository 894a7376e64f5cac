"""Parquet as a stream of rows, in a memory that does not depend on what the file says.

pyarrow has no limit on memory, and a file of 3 KB may expand to any size: by compression, by one long text of a
dictionary that stands in every row, by a count in a header. So the sizes of the footer and of each page are read, and
checked, before pyarrow sees them.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from unroll import progress
from unroll.corpora.columns import Remedy, positions
from unroll.corpora.thrift import Structure, Thrift
from unroll.errors import DataError

if TYPE_CHECKING:
    from pyarrow import Array
    from pyarrow.parquet import ParquetFile

BATCH_ROWS = 100
READ_BUFFER = 2**20  # bytes
LARGEST_FOOTER, MOST_ENTRIES, MOST_COLUMNS = 2**23, 2**19, 10_000  # bytes; its entries; columns
LARGEST_HEADER = 2**16  # bytes, of a page
TEXTS_PER_PAGE, TEXTS_PER_BATCH = 16, 8  # of the length that data.max_characters allows, a byte a character
_FEWER = "write the file with the columns of text and label alone, and more rows in a row group"

_PLAIN_TYPES = ("string", "large_string", "integer", "boolean", "float32", "float64", "null")
# Fields of the footer, of a row group, of a column's chunk in it, and of what this says of the column.
_SCHEMA, _GROUPS, _CHUNKS, _COLUMN = 2, 4, 1, 3
_VALUES, _CHUNK_BYTES, _DATA_OFFSET, _DICTIONARY_OFFSET = 5, 7, 9, 11
# The fields of a page's header: https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift
_KIND, _EXPANDED, _PACKED = 1, 2, 3
_DICTIONARY = 2
_HEADERS = {0: (5, 2), _DICTIONARY: (7, 2), 3: (8, 4)}  # by kind: the inner header, and in it the encoding
# DELTA_LENGTH_BYTE_ARRAY and DELTA_BYTE_ARRAY hold counts inside of the compressed page, which pyarrow believes.
_DELTAS = (6, 7)


def read_parquet(
    path: Path, columns: Sequence[str], encoding: str, remedy: Remedy, max_characters: int
) -> Iterator[tuple[Any, ...]]:
    """Yield the values of `columns`, row by row; the other arguments are those of `read_table`.

    Raises DataError, on iteration, where the file is damaged, lacks a column, has one that is neither text nor
    numbers, or would expand to too much.
    """
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    row = 0
    try:
        with path.open("rb") as stream:  # pyarrow takes a path with "::" for an address
            groups = _row_groups(path, stream)
            # Pre-buffering would hold a whole row group, and a file may be one row group: 257 MB more for 205 MB of
            # reviews, 45 MB without.
            options: Any = {"buffer_size": READ_BUFFER, "pre_buffer": False, "page_checksum_verification": True}
            with (
                ParquetFile(stream, **options) as table,
                progress.begin(f"reading {path.name}", table.metadata.num_rows) as task,
            ):
                leaves = _leaves(path, table, columns, remedy)
                for group in range(table.num_row_groups):
                    largest = _largest_page(path, stream, groups[group], leaves, max_characters)
                    rows = max(1, min(BATCH_ROWS, TEXTS_PER_BATCH * max_characters // largest))
                    for batch in table.iter_batches(rows, [group], columns=list(columns), use_threads=False):
                        values = (_values(path, batch.column(column), row) for column in columns)
                        yield from zip(*values, strict=True)
                        row += batch.num_rows
                        task.update(row)
    # ValueError: a column's name is no UTF-8, say; LookupError: the footer has fewer parts than pyarrow believes.
    except (ArrowException, OSError, ValueError, LookupError, OverflowError) as error:
        message = f"{path}: damaged parquet, in or after row {row + 1}; fetch or write the file again"
        raise DataError(message) from error


def class_names(path: Path, column: str) -> tuple[str, ...] | None:
    """Return the names of classes 0, 1, … that `datasets` has written into a parquet file (its `ClassLabel`), if any.

    A file that can't be read has none: who reads its rows will say why.
    """
    if path.suffix.lower() != ".parquet":
        return None
    from pyarrow import ArrowException
    from pyarrow.parquet import read_schema

    try:
        with path.open("rb") as stream:
            _row_groups(path, stream)
            features = json.loads(read_schema(stream).metadata[b"huggingface"])["info"]["features"]
        names = features[column]["names"]
    except (ArrowException, DataError, OSError, ValueError, LookupError, TypeError, RecursionError):
        return None
    is_list = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return tuple(names) if names and is_list else None


def _row_groups(path: Path, stream: BinaryIO) -> list[Structure]:
    """Return what the footer says of the row groups, unless it would expand to too much: a column of one byte takes
    4 KB."""
    if not stream.seekable():
        raise DataError(f"{path}: parquet can't be read from a pipe; write it into a file")
    size = stream.seek(0, io.SEEK_END)
    stream.seek(max(0, size - 8))
    length = int.from_bytes(stream.read(4), "little")
    if length > size - 8:
        return []  # pyarrow says that the file is damaged
    if length > LARGEST_FOOTER:
        raise DataError(f"{path}: its footer has {length:,} bytes, more than {LARGEST_FOOTER:,}; {_FEWER}")
    stream.seek(size - 8 - length)
    try:
        footer = Thrift(io.BytesIO(stream.read(length)), MOST_ENTRIES).structure()
    except OverflowError as error:
        raise DataError(f"{path}: its footer has more than {MOST_ENTRIES:,} entries; {_FEWER}") from error
    if len(_structures(footer, _SCHEMA)) > MOST_COLUMNS:
        raise DataError(f"{path}: more than {MOST_COLUMNS:,} columns; {_FEWER}")
    stream.seek(0)
    return _structures(footer, _GROUPS)


def _leaves(path: Path, table: ParquetFile, columns: Sequence[str], remedy: Remedy) -> list[int]:
    """The numbers of the columns, each of which is one leaf of the schema."""
    from pyarrow import types

    schema = table.schema_arrow
    positions(path, schema.names, columns, remedy)
    leaves = [table.schema.column(number) for number in range(len(table.schema))]
    for column in columns:
        kind = schema.field(column).type
        value = kind.value_type if types.is_dictionary(kind) else kind
        is_plain = any(getattr(types, f"is_{name}")(value) for name in _PLAIN_TYPES)
        if not is_plain or [leaf.path for leaf in leaves].count(column) != 1:
            raise DataError(f"{path}: the column {column!r} is of type {str(kind)[:80]}; write strings or numbers")
    return [number for number, leaf in enumerate(leaves) if leaf.path in columns]


def _largest_page(path: Path, stream: BinaryIO, group: Structure, leaves: Sequence[int], longest: int) -> int:
    """The bytes of the largest page of these columns of a row group, as its header says: pyarrow allocates them.

    The chunks' places are read from the footer here: asked for them, pyarrow ends the process where a chunk's
    statistics do not fit the schema.
    """
    largest, chunks = 1, _structures(group, _CHUNKS)
    for number in leaves:
        chunk = chunks[number].get(_COLUMN)
        if not isinstance(chunk, dict):
            raise ValueError("no column")
        # pyarrow begins and ends there as well.
        place = _number(chunk, _DATA_OFFSET)
        place = min(place, _number(chunk, _DICTIONARY_OFFSET) or place) if _DICTIONARY_OFFSET in chunk else place
        end, values = place + _number(chunk, _CHUNK_BYTES), 0
        while place < end and values < _number(chunk, _VALUES):
            stream.seek(place)
            head = io.BytesIO(stream.read(LARGEST_HEADER))
            page = Thrift(head, MOST_ENTRIES).structure()
            packed = _number(page, _PACKED)
            largest = max(largest, packed, _number(page, _EXPANDED))
            if largest > TEXTS_PER_PAGE * longest:
                raise DataError(
                    f"{path}: a page has {largest:,} bytes, more than {TEXTS_PER_PAGE} texts of "
                    f"data.max_characters={longest}; write the file with fewer rows in a row group, or a larger setting"
                )
            values += _values_in(path, page)
            place += head.tell() + packed
    return largest


def _values_in(path: Path, page: Structure) -> int:
    """How many values a data page has; 0 for any other page."""
    kind = _number(page, _KIND)
    if kind not in _HEADERS:
        return 0
    field, encoding = _HEADERS[kind]
    header = page.get(field)
    if not isinstance(header, dict):
        raise ValueError("no header")
    if _number(header, encoding) in _DELTAS:
        raise DataError(f"{path}: text in a delta encoding is not read; write the file with the encoding PLAIN")
    values = _number(header, 1)
    if kind == _DICTIONARY and values > _number(page, _EXPANDED):
        raise ValueError("more values than bytes")
    return 0 if kind == _DICTIONARY else values


def _number(fields: Structure, number: int) -> int:
    value = fields.get(number)
    if not isinstance(value, int) or not 0 <= value < 2**47:
        raise ValueError(f"field {number} is no size")
    return value


def _structures(fields: Structure, number: int) -> list[Structure]:
    value = fields.get(number)
    if not isinstance(value, list):
        raise ValueError(f"field {number} is no list")
    return value


def _values(path: Path, column: Array, row: int) -> list[Any]:
    """The Python values of an Arrow column, which `row` rows precede; Arrow does not check that strings are UTF-8."""
    try:
        values: list[Any] = column.to_pylist()
        return values
    except UnicodeDecodeError:
        for number, value in enumerate(column, row + 1):
            try:
                value.as_py()
            except UnicodeDecodeError as error:
                raise DataError(f"{path}: row {number} is not UTF-8; write the file again from UTF-8 text") from error
        raise
