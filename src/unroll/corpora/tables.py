"""Tables (csv, JSON Lines, parquet) as streams of plain values: exact to the byte, in constant memory.

The loaders of `datasets` stand aside here. Measured with datasets 5.2: its csv reader takes a row with one field too
many as one with an index and drops the first field, and fills short rows with ""; its JSON reader turns texts that
look like dates into timestamps; it reads `[`, `*` and `::` in a path as patterns; and importing it alone costs 1 s and
130 MB. pyarrow's csv reader refuses texts longer than its block and its JSON reader sniffs dates as well. The standard
library's csv and json do none of this and know which row they are in; pyarrow reads the parquet.
"""

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from unroll.errors import DataError

LONGEST_FIELD = 2**24  # characters in one csv field; without a bound, one quote left open swallows the whole file
BATCH_ROWS = 1000
READ_BUFFER = 2**20  # bytes of parquet read at a time


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Check that `path` is a file with something in it, and turn failures while it is read into a DataError."""
    try:
        if not path.exists():
            raise DataError(f"{path}: no such file; check the path")
        if path.is_dir():
            raise DataError(f"{path}: is a folder; name a file in it")
        if path.is_file() and path.stat().st_size == 0:  # the size of a pipe is 0, too
            raise DataError(f"{path}: the file is empty; write it again")
        yield
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: line {_malformed_line(path)} is not UTF-8; save the file as UTF-8") from error
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise DataError(f"{path}: can't be read ({reason}); check the file and its permissions") from error


def read_table(path: Path, columns: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """Yield the values of `columns`, row by row, as they stand in the file: all strings in csv, else what it holds.

    Raises DataError, on iteration, where the file is missing, empty, damaged or malformed, or lacks a column.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{path}: unknown kind of table {path.suffix!r}; use one of {', '.join(READERS)}")
    with reading(path):
        yield from reader(path, columns)


def _read_csv(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, ...]]:
    csv.field_size_limit(LONGEST_FIELD)  # the csv module knows one limit for the whole process: 131,072 by default
    with path.open(encoding="utf-8-sig", newline="") as stream:
        lines = csv.reader(stream, strict=True)
        header: list[str] = []
        row = 0
        try:
            header = next(lines, [])
            positions = _positions(path, header, columns)
            for fields in lines:
                if not fields:
                    continue  # a blank line
                row += 1
                if len(fields) != len(header):
                    raise DataError(
                        f"{path}: row {row} (ends in line {lines.line_num}) has {len(fields)} fields, "
                        f"the header has {len(header)}; put fields that hold commas or quotes in quotes"
                    )
                yield tuple([fields[position] for position in positions])
        except csv.Error as error:
            place = f"row {row + 1}" if header else "the header"
            raise DataError(
                f"{path}: {place} is malformed csv ({error}, seen in line {lines.line_num}); "
                'close the quotes of a field and double those inside it ("")'
            ) from error


def _read_json_lines(path: Path, columns: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    with path.open(encoding="utf-8-sig") as stream:
        for number, line in enumerate(stream, 1):
            if line.isspace():
                continue
            try:
                record = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise DataError(f"{path}: line {number} is malformed JSON; write one object a line") from error
            if not isinstance(record, dict):
                raise DataError(f"{path}: line {number} is not a JSON object; write one object a line")
            _positions(f"{path}: line {number}", list(record), columns)
            yield tuple([record[column] for column in columns])


def _read_parquet(path: Path, columns: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    row = 1
    try:
        # Opened here, since pyarrow takes a path with "::" for an address. Pre-buffering would hold a whole row group,
        # and a file may be one row group: 257 MB more for 205 MB of reviews, 45 MB without.
        with (
            path.open("rb") as stream,
            ParquetFile(stream, buffer_size=READ_BUFFER, pre_buffer=False, page_checksum_verification=True) as table,
        ):
            _positions(path, table.schema_arrow.names, columns)
            for batch in table.iter_batches(BATCH_ROWS, columns=list(columns), use_threads=False):
                yield from zip(*(_plain(path, batch.column(column), row) for column in columns), strict=True)
                row += batch.num_rows
    except (ArrowException, OSError, UnicodeDecodeError) as error:  # the last: a damaged name of a column
        raise DataError(f"{path}: damaged parquet, in or after row {row}; fetch or write the file again") from error


def _plain(path: Path, column: Any, first_row: int) -> list[Any]:
    """The Python values of an Arrow column; Arrow itself does not check that strings are UTF-8."""
    try:
        values: list[Any] = column.to_pylist()
        return values
    except UnicodeDecodeError:
        for row, value in enumerate(column, first_row):
            try:
                value.as_py()
            except UnicodeDecodeError as error:
                raise DataError(f"{path}: row {row} is not UTF-8; write the file again from UTF-8 text") from error
        raise


def _positions(place: object, names: Sequence[str], columns: Sequence[str]) -> list[int]:
    for column in columns:
        if names.count(column) != 1:
            there = ", ".join(repr(name[:40]) for name in names[:10]) + (", …" if len(names) > 10 else "")
            count = "no" if column not in names else "more than one"
            raise DataError(f"{place}: {count} column {column!r} among {there or 'none'}; rename the columns")
    return [names.index(column) for column in columns]


def _malformed_line(path: Path) -> int:
    """The number of the first line that is not UTF-8: lines can be decoded alone, as no character holds a \\n byte."""
    with path.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return number
    return 0  # the file has changed meanwhile


READERS: dict[str, Callable[[Path, Sequence[str]], Iterator[tuple[Any, ...]]]] = {
    ".parquet": _read_parquet,
    ".csv": _read_csv,
    ".jsonl": _read_json_lines,
    ".json": _read_json_lines,
}
