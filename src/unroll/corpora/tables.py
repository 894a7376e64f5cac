"""Tables (csv, JSON Lines, parquet) as streams of plain values: exact to the byte, in constant memory.

They are read by the standard library's csv and json, and by pyarrow for parquet. The loaders of `datasets` (5.2) change
the data: the csv reader drops the first field of a row that has one too many, and fills short rows with ""; the JSON
reader turns texts that look like dates into timestamps; `[`, `*` and `::` in a path are patterns. Importing it takes
1 s and 130 MB. pyarrow's csv reader refuses texts longer than its block, and its JSON reader makes dates, too.
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

from unroll import progress
from unroll.config.classification import MAX_CHARACTERS
from unroll.corpora.columns import Remedy, positions, rename
from unroll.corpora.parquet import read_parquet
from unroll.errors import ConfigError, DataError

TEXTS_PER_ROW = 4  # of data.max_characters: a row has other columns, too, and JSON writes some characters as six
LARGEST_EXPANDED = 2**33  # characters that a .gz file may expand to
LINES_BETWEEN_REPORTS = 64
_OR_RAISE = "or write a larger data.max_characters"
DELIMITERS = ",;\t|"


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


def read_lines(
    path: Path, encoding: str = "utf-8", newline: str = "", errors: str = "strict", longest: int = MAX_CHARACTERS
) -> Iterator[str]:
    """Yield the lines of a text, expanded if its name ends in .gz, with their ends. Shows how far it is.

    Args:
        path: of a file or a pipe.
        encoding: as in `open`, like `newline` and `errors`.
        longest: characters that a line may have.

    Raises DataError, on iteration, for bytes that are no text, a line that is too long, and too large an expansion.
    """
    is_packed = path.suffix.lower() == ".gz"
    name = codec(encoding)
    number = size = 0
    with (
        path.open("rb") as file,
        gzip.GzipFile(fileobj=file) if is_packed else file as content,
        io.TextIOWrapper(content, name, errors, newline) as stream,
        progress.begin(f"reading {path.name}", path.stat().st_size or None) as task,  # a pipe has no size
    ):
        try:
            while line := stream.readline(longest + 1):
                number += 1
                size += len(line)
                if len(line) > longest:
                    raise DataError(f"{path}: line {number} is longer than {longest:,} characters; cut it, {_OR_RAISE}")
                if is_packed and size > LARGEST_EXPANDED:
                    raise DataError(f"{path}: expands to more than {LARGEST_EXPANDED:,} characters; cut it into files")
                if number % LINES_BETWEEN_REPORTS == 0:
                    task.update(file.tell() if file.seekable() else size)
                yield line
        except UnicodeDecodeError as error:
            raise undecodable(path, error, number, encoding) from error


def read_table(
    path: Path,
    columns: Sequence[str],
    encoding: str = "utf-8",
    remedy: Remedy = rename,
    max_characters: int = MAX_CHARACTERS,
) -> Iterator[tuple[Any, ...]]:
    """Yield the values of `columns`, row by row, as they stand in the file: all strings in csv, else what it holds.

    Args:
        path: of the table; the end of its name says what kind it is, see READERS.
        columns: names in its header.
        encoding: of csv and JSON Lines.
        remedy: what an error says about a missing column.
        max_characters: of one text. No row, line or page may be larger than a few such texts.

    Raises DataError, on iteration, where the file is missing, empty, damaged or malformed, lacks a column or has a
    larger row, and ConfigError for an unknown encoding.
    """
    reader = READERS.get(table_suffix(path))
    if reader is None:
        raise DataError(f"{path}: unknown kind of table {path.suffix!r}; use one of {', '.join(READERS)}")
    with reading(path):
        yield from reader(path, columns, encoding, remedy, max_characters)


def table_suffix(path: Path) -> str:
    """Return the end of a name that says what kind of table it is, a key of READERS; "" for any other file."""
    return next((suffix for suffix in READERS if path.name.lower().endswith(suffix)), "")


def _read_csv(
    path: Path, columns: Sequence[str], encoding: str, remedy: Remedy, max_characters: int
) -> Iterator[tuple[str, ...]]:
    longest = TEXTS_PER_ROW * max_characters
    csv.field_size_limit(longest)  # the csv module knows one limit for the whole process: 131,072 by default
    stream = read_lines(path, encoding, longest=longest)
    first = next(stream, "")
    delimiter = _delimiter(first, columns)
    row = size = 0

    def row_by_row() -> Iterator[str]:
        """The lines; a quote that is not closed would swallow them all."""
        nonlocal size
        for line in chain([first], stream):
            size += len(line)
            if size > longest:
                raise DataError(
                    f"{path}: row {row + 1} is longer than {longest:,} characters; close its quotes, {_OR_RAISE}"
                )
            yield line

    lines = csv.reader(row_by_row(), delimiter=delimiter, strict=True)
    header: list[str] = []
    try:
        header = next(lines, [])
        if len(header) < 2 and len(columns) > 1:
            remedy = _divide
        places = positions(path, header, columns, remedy)
        size = 0
        for fields in lines:
            size = 0
            if not fields:
                continue  # a blank line
            row += 1
            if len(fields) != len(header):
                raise DataError(
                    f"{path}: row {row} (ends in line {lines.line_num}) has {len(fields)} fields, "
                    f"the header has {len(header)}; put fields that hold {delimiter!r} or quotes in quotes"
                )
            yield tuple([fields[place] for place in places])
    except csv.Error as error:
        place = f"row {row + 1}" if header else "the header"
        raise DataError(
            f"{path}: {place} is malformed csv ({error}, seen in line {lines.line_num}); "
            'close the quotes of a field and double those inside it ("")'
        ) from error


def _delimiter(header: str, columns: Sequence[str]) -> str:
    """The delimiter that gives the header all `columns`; else the one that the header has most often."""

    def has_all(delimiter: str) -> bool:
        try:
            names = next(csv.reader([header], delimiter=delimiter, strict=True), [])
        except csv.Error:  # a quoted name of several lines
            return False
        return all(names.count(column) == 1 for column in columns)

    return max(DELIMITERS, key=lambda delimiter: (has_all(delimiter), header.count(delimiter)))


def _divide(names: Sequence[str]) -> str:
    return "write a header line, with commas, semicolons, tabs or bars between the columns"


def _read_json_lines(
    path: Path, columns: Sequence[str], encoding: str, remedy: Remedy, max_characters: int
) -> Iterator[tuple[Any, ...]]:
    is_first = True
    for number, line in enumerate(read_lines(path, encoding, longest=TEXTS_PER_ROW * max_characters), 1):
        if line.isspace():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}: line {number} is malformed JSON; write one object a line") from error
        if not isinstance(record, dict):
            raise DataError(f"{path}: line {number} is not a JSON object; write one object a line")
        positions(f"{path}: line {number}", list(record), columns, remedy if is_first else _repeat)
        is_first = False
        yield tuple([record[column] for column in columns])


def _repeat(names: Sequence[str]) -> str:
    return "give every line the columns of the first"


_TEXTS = {".csv": _read_csv, ".tsv": _read_csv, ".jsonl": _read_json_lines, ".json": _read_json_lines}
READERS: dict[str, Callable[[Path, Sequence[str], str, Remedy, int], Iterator[tuple[Any, ...]]]] = {
    ".parquet": read_parquet,
    **_TEXTS,
    **{f"{suffix}.gz": reader for suffix, reader in _TEXTS.items()},
}
