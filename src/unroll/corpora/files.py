"""Labelled rows and plain texts, streamed from a user's files and checked row by row."""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from unroll.corpora.tables import READERS, read_table, reading
from unroll.errors import DataError

_INTEGER = re.compile(r"-?[0-9]{1,18}")  # what fits 64 bits; longer digits are a name


class Row(NamedTuple):
    """One labelled example; the label is a class index or a class name."""

    text: str
    label: int | str


@dataclass(frozen=True)
class TextFile:
    """A table with the columns `text` and `label`: .parquet, .csv, .jsonl or .json (one object a line)."""

    path: Path
    where: tuple[str, str] | None = None
    """Keep only the rows whose column `where[0]` equals `where[1]`."""

    def sha256(self) -> str:
        """The hexadecimal SHA-256 of the file's bytes, and of `where` if given. Raises DataError if unreadable."""
        with reading(self.path), self.path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256")
        if self.where is not None:
            digest.update(repr(self.where).encode())
        return digest.hexdigest()


def read_rows(file: TextFile) -> Iterator[Row]:
    """Yield the labelled rows of `file` in order and in constant memory. Texts come unchanged, blank ones too.

    In csv, a label of digits is an integer, any other a name, both without the spaces around them.

    Raises DataError, on iteration, naming file, row (from 1, without the header) and remedy: for a file that is
    missing, empty, damaged, malformed or not UTF-8, a missing column, a text or label that is null or of a wrong
    type, a blank or negative label, and where no row is left.
    """
    columns = ("text", "label") if file.where is None else ("text", "label", file.where[0])
    from_csv = file.path.suffix.lower() == ".csv"
    kept = 0
    for number, (text, label, *group) in enumerate(read_table(file.path, columns), 1):
        if file.where is not None and str(group[0]) != file.where[1]:
            continue
        kept += 1
        place = f"{file.path}: row {number}"
        yield Row(_text(text, place), _label(_csv_label(label) if from_csv else label, place))
    if not kept:
        rows = "rows" if file.where is None else f"rows whose {file.where[0]!r} is {file.where[1]!r}"
        raise DataError(f"{file.path}: no {rows}; add at least one")


def read_texts(path: Path) -> Iterator[str]:
    """Yield the texts to predict in order and in constant memory: a table's `text` column, else the file's lines.

    Lines end at \\n or \\r\\n; blank ones are texts, too, and bytes that are not UTF-8 become U+FFFD (in a table they
    are an error). Raises DataError, on iteration, as `read_rows` does.
    """
    if path.suffix.lower() not in READERS:
        with reading(path), path.open(encoding="utf-8-sig", errors="replace", newline="\n") as stream:
            for line in stream:
                yield line.removesuffix("\n").removesuffix("\r")
        return
    number = 0
    for number, (text,) in enumerate(read_table(path, ("text",)), 1):
        yield _text(text, f"{path}: row {number}")
    if not number:
        raise DataError(f"{path}: no rows; add at least one")


def _text(value: object, place: str) -> str:
    if value is None:
        raise DataError(f"{place}: the text is null; delete the row or give it a text")
    if not isinstance(value, str):
        raise DataError(f"{place}: the text is of type {type(value).__name__}; write it as a string")
    _check_whole(value, f"{place}: the text")
    return value


def _check_whole(value: str, place: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError as error:  # JSON's \ud83d alone
        raise DataError(f"{place} holds half a surrogate pair; write whole characters") from error


def _label(value: object, place: str) -> int | str:
    if isinstance(value, float) and value.is_integer():  # a column of integers that passed through pandas
        value = int(value)
    if value is None or (isinstance(value, str) and not value.strip()):
        raise DataError(f"{place}: the label is {'null' if value is None else 'blank'}; give it one or delete the row")
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise DataError(f"{place}: the label {value!r:.40} is of type {type(value).__name__}; use 0, 1, … or names")
    if isinstance(value, str):
        _check_whole(value, f"{place}: the label")
    if isinstance(value, int) and value >= 2**63:
        raise DataError(f"{place}: the label {str(value)[:20]}… is too large a number; write it as a name, in quotes")
    if isinstance(value, int) and value < 0:
        raise DataError(f"{place}: the label is {value}, and -1 marks unlabelled rows in IMDb; leave such rows out")
    return value


def _csv_label(value: str) -> int | str:
    value = value.strip()
    return int(value) if _INTEGER.fullmatch(value) else value
