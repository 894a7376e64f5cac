"""Tables (csv, JSON Lines, parquet) as streams of plain values: exact to the byte, in constant memory.

The loaders of `datasets` stand aside here. Measured with datasets 5.2: its csv reader takes a row with one field too
many as one with an index and drops the first field, and fills short rows with ""; its JSON reader turns texts that
look like dates into timestamps; it reads `[`, `*` and `::` in a path as patterns; and importing it alone costs 1 s and
130 MB. pyarrow's csv reader refuses texts longer than its block and its JSON reader sniffs dates as well. The standard
library's csv and json do none of this and know which row they are in; pyarrow reads the parquet.
"""

import codecs
import csv
import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

from unroll.errors import ConfigError, DataError

LONGEST_FIELD = 2**24  # characters in one csv field; without a bound, one quote left open swallows the whole file
LONGEST_LINE = 2**25  # characters
LARGEST_EXPANDED = 2**33  # characters that a .gz file may expand to
BATCH_ROWS = 1000
READ_BUFFER = 2**20  # bytes of parquet read at a time
DELIMITERS = ",;\t|"

Remedy = Callable[[Sequence[str]], str]
"""What to do about a missing column, given the names of those that are there."""


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
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path}: damaged gzip; fetch or write the file again") from error
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise DataError(f"{path}: can't be read ({reason}); check the file and its permissions") from error


def codec(encoding: str) -> str:
    """Return Python's name of an encoding; UTF-8 is read with or without a byte order mark.

    Raises ConfigError where there is no such encoding of text.
    """
    try:
        "a".encode(encoding)
        name = codecs.lookup(encoding).name
    except (LookupError, ValueError) as error:
        raise ConfigError(f"data.encoding={encoding}: no such encoding; write utf-8, latin-1 or utf-16") from error
    return "utf-8-sig" if name == "utf-8" else name


def undecodable(place: object, error: UnicodeDecodeError, lines_before: int, encoding: str) -> DataError:
    """Return the error for bytes that are no text; `lines_before` end before the bytes that `error` holds."""
    line = lines_before + len((error.object[: error.start] + b".").splitlines())
    name = "UTF-8" if codec(encoding) == "utf-8-sig" else encoding
    remedy = "utf-16" if error.object[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "latin-1"
    return DataError(f"{place}: line {line} is not {name}; save the file as UTF-8, or write data.encoding={remedy}")


def read_lines(path: Path, encoding: str = "utf-8", newline: str = "", errors: str = "strict") -> Iterator[str]:
    """Yield the lines of a text, expanded if its name ends in .gz, with their ends; arguments are those of `open`.

    Raises DataError, on iteration, for bytes that are no text, a line that is too long, and too large an expansion.
    """
    is_packed = path.suffix.lower() == ".gz"
    name = codec(encoding)
    number = size = 0
    with (
        gzip.open(path) if is_packed else path.open("rb") as content,
        io.TextIOWrapper(content, name, errors, newline) as stream,
    ):
        try:
            while line := stream.readline(LONGEST_LINE + 1):
                number += 1
                size += len(line)
                if len(line) > LONGEST_LINE:
                    raise DataError(f"{path}: line {number} is longer than {LONGEST_LINE:,} characters; cut it")
                if is_packed and size > LARGEST_EXPANDED:
                    raise DataError(f"{path}: expands to more than {LARGEST_EXPANDED:,} characters; cut it into files")
                yield line
        except UnicodeDecodeError as error:
            raise undecodable(path, error, number, encoding) from error


def rename(names: Sequence[str]) -> str:
    """Return the remedy for a missing column where no setting names it."""
    return "rename the columns"


def read_table(
    path: Path, columns: Sequence[str], encoding: str = "utf-8", remedy: Remedy = rename
) -> Iterator[tuple[Any, ...]]:
    """Yield the values of `columns`, row by row, as they stand in the file: all strings in csv, else what it holds.

    Raises DataError, on iteration, where the file is missing, empty, damaged or malformed, or lacks a column, and
    ConfigError for an unknown encoding.
    """
    reader = READERS.get(table_suffix(path))
    if reader is None:
        raise DataError(f"{path}: unknown kind of table {path.suffix!r}; use one of {', '.join(READERS)}")
    with reading(path):
        yield from reader(path, columns, encoding, remedy)


def table_suffix(path: Path) -> str:
    """Return the end of a name that says what kind of table it is, a key of READERS; "" for any other file."""
    return next((suffix for suffix in READERS if path.name.lower().endswith(suffix)), "")


def _read_csv(path: Path, columns: Sequence[str], encoding: str, remedy: Remedy) -> Iterator[tuple[str, ...]]:
    csv.field_size_limit(LONGEST_FIELD)  # the csv module knows one limit for the whole process: 131,072 by default
    stream = read_lines(path, encoding)
    first = next(stream, "")
    delimiter = _delimiter(first, columns)
    lines = csv.reader(chain([first], stream), delimiter=delimiter, strict=True)
    header: list[str] = []
    row = 0
    try:
        header = next(lines, [])
        if len(header) < 2 and len(columns) > 1:
            remedy = _divide
        positions = _positions(path, header, columns, remedy)
        for fields in lines:
            if not fields:
                continue  # a blank line
            row += 1
            if len(fields) != len(header):
                raise DataError(
                    f"{path}: row {row} (ends in line {lines.line_num}) has {len(fields)} fields, "
                    f"the header has {len(header)}; put fields that hold {delimiter!r} or quotes in quotes"
                )
            yield tuple([fields[position] for position in positions])
    except csv.Error as error:
        place = f"row {row + 1}" if header else "the header"
        raise DataError(
            f"{path}: {place} is malformed csv ({error}, seen in line {lines.line_num}); "
            'close the quotes of a field and double those inside it ("")'
        ) from error


def _delimiter(header: str, columns: Sequence[str]) -> str:
    """The delimiter by which the header has all `columns`; where none has, the one that stands there most often."""

    def has_all(delimiter: str) -> bool:
        try:
            names = next(csv.reader([header], delimiter=delimiter, strict=True), [])
        except csv.Error:  # a quoted name of several lines
            return False
        return all(names.count(column) == 1 for column in columns)

    return max(DELIMITERS, key=lambda delimiter: (has_all(delimiter), header.count(delimiter)))


def _divide(names: Sequence[str]) -> str:
    return "write a header line, with commas, semicolons, tabs or bars between the columns"


def _read_json_lines(path: Path, columns: Sequence[str], encoding: str, remedy: Remedy) -> Iterator[tuple[Any, ...]]:
    is_first = True
    for number, line in enumerate(read_lines(path, encoding), 1):
        if line.isspace():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}: line {number} is malformed JSON; write one object a line") from error
        if not isinstance(record, dict):
            raise DataError(f"{path}: line {number} is not a JSON object; write one object a line")
        _positions(f"{path}: line {number}", list(record), columns, remedy if is_first else _repeat)
        is_first = False
        yield tuple([record[column] for column in columns])


def _repeat(names: Sequence[str]) -> str:
    return "give every line the columns of the first"


def _read_parquet(path: Path, columns: Sequence[str], encoding: str, remedy: Remedy) -> Iterator[tuple[Any, ...]]:
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
            _positions(path, table.schema_arrow.names, columns, remedy)
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


def class_names(path: Path, column: str) -> tuple[str, ...] | None:
    """Return the names of classes 0, 1, … that `datasets` has written into a parquet file (its `ClassLabel`), if any.

    A file that can't be read has none: who reads its rows will say why.
    """
    if table_suffix(path) != ".parquet":
        return None
    from pyarrow import ArrowException
    from pyarrow.parquet import read_schema

    try:
        with path.open("rb") as stream:
            features = json.loads(read_schema(stream).metadata[b"huggingface"])["info"]["features"]
        names = features[column]["names"]
    except (ArrowException, OSError, ValueError, LookupError, TypeError):
        return None
    is_whole = isinstance(names, list) and bool(names) and all(isinstance(name, str) for name in names)
    return tuple(names) if is_whole else None


def _positions(place: object, names: Sequence[str], columns: Sequence[str], remedy: Remedy) -> list[int]:
    for column in columns:
        if names.count(column) != 1:
            there = ", ".join(repr(name[:40]) for name in names[:10]) + (", …" if len(names) > 10 else "")
            count = "no" if column not in names else "more than one"
            raise DataError(f"{place}: {count} column {column!r} among {there or 'none'}; {remedy(names)}")
    return [names.index(column) for column in columns]


_TEXTS = {".csv": _read_csv, ".tsv": _read_csv, ".jsonl": _read_json_lines, ".json": _read_json_lines}
READERS: dict[str, Callable[[Path, Sequence[str], str, Remedy], Iterator[tuple[Any, ...]]]] = {
    ".parquet": _read_parquet,
    **_TEXTS,
    **{f"{suffix}.gz": reader for suffix, reader in _TEXTS.items()},
}
