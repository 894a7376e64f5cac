"""Labelled rows and plain texts, streamed from a user's files and checked row by row."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from unroll.config.classification import MAX_CHARACTERS
from unroll.corpora.tables import codec, read_lines, read_table, reading, table_suffix
from unroll.errors import DataError

LONGEST_LABEL = 1000  # characters
UNLABELLED = -1  # the label of a text without one
_INTEGER = re.compile(r"-?[0-9]{1,18}")  # what fits 64 bits; longer digits are a name

# Names that such columns often have, for the remedy where the wanted one is missing.
# fmt: off
_TEXTS = ("text", "review", "sentence", "content", "comment", "document", "body", "message", "tweet", "headline",
          "title")
_LABELS = ("label", "labels", "sentiment", "class", "category", "target", "rating", "stars", "score", "topic",
           "emotion")
# fmt: on


class Row(NamedTuple):
    """One example; the label is a class index, a class name or `UNLABELLED`."""

    text: str
    label: int | str


@dataclass(frozen=True)
class TextFile:
    """A table of texts: one file of a kind in `tables.READERS`, or the shards of one, in their order."""

    paths: tuple[Path, ...]
    text_column: str = "text"
    label_column: str = "label"
    encoding: str = "utf-8"
    """Of csv and JSON Lines."""
    where: tuple[str, str] | None = None
    """Keep only the rows whose column `where[0]` equals `where[1]`."""
    max_characters: int = MAX_CHARACTERS
    """Of one text."""
    has_labels: bool = True
    """False: the column of labels is not read, and need not be there."""

    def __str__(self) -> str:
        more = len(self.paths) - 1
        return str(self.paths[0]) + (f" (and {more} more)" if more else "")

    def sha256(self) -> str:
        """Return a hexadecimal SHA-256 of all that decides what is read. For one file and no options it is the file's.

        Raises DataError where a file can't be read twice or at all, ConfigError for an unknown encoding.
        """
        digests = []
        for path in self.paths:
            if path.exists() and not path.is_file() and not path.is_dir():
                raise DataError(f"{path}: a pipe or a device can't be read twice; write what it gives into a file")
            with reading(path), path.open("rb") as stream:
                digests.append(hashlib.file_digest(stream, "sha256"))
        digest = digests[0] if len(digests) == 1 else hashlib.sha256(b"".join(one.digest() for one in digests))
        options = self.text_column, self.label_column, codec(self.encoding)
        if options != ("text", "label", codec("utf-8")):
            digest.update(repr(options).encode())
        if self.where is not None:
            digest.update(repr(self.where).encode())
        if not self.has_labels:
            digest.update(b"without labels")
        return digest.hexdigest()


def read_rows(file: TextFile) -> Iterator[Row]:
    """Yield the rows of `file` in order and in constant memory. Texts come unchanged, blank ones too.

    In csv, a label of digits is an integer, true and false are booleans in any case, and any other label is a name.
    Spaces around them do not count. Booleans become the names "false" and "true". Without labels, every row is
    `UNLABELLED`.

    Raises DataError, on iteration, with file, row (from 1, without the header) and remedy: for a file that is missing,
    empty, damaged, malformed or of another encoding, a missing column, a text or label that is null, too long or of a
    wrong type, a blank or negative label, and where no row is left.
    """
    columns = (file.text_column, *([file.label_column] if file.has_labels else []), *(file.where or ())[:1])
    kept = 0
    for path in file.paths:
        from_csv = table_suffix(path).startswith((".csv", ".tsv"))
        rows = read_table(path, columns, file.encoding, partial(_settings, file), file.max_characters)
        for number, (text, *others) in enumerate(rows, 1):
            if file.where is not None and str(others[-1]) != file.where[1]:
                continue
            kept += 1
            place = f"{path}: row {number}"
            text = _text(text, place, file.max_characters)
            if not file.has_labels:
                yield Row(text, UNLABELLED)
            else:
                yield Row(text, _label(_csv_label(others[0]) if from_csv else others[0], place))
    if not kept:
        rows_ = "rows" if file.where is None else f"rows whose {file.where[0]!r} is {file.where[1]!r}"
        raise DataError(f"{file}: no {rows_}; add at least one")


def is_unlabelled(file: TextFile) -> bool:
    """Return whether the first row has the label -1: so sets of the hub mark a test split whose labels are secret."""
    rows = read_table(file.paths[0], (file.label_column,), file.encoding, partial(_settings, file), file.max_characters)
    value = next(rows, ("",))[0]
    return (value.strip() if isinstance(value, str) else value) in (-1, "-1", "-1.0")


def read_texts(
    path: Path, text_column: str = "text", encoding: str = "utf-8", max_characters: int = MAX_CHARACTERS
) -> Iterator[str]:
    """Yield the texts to predict in order and in constant memory: a table's column, else the file's lines.

    Lines end at \\n or \\r\\n; blank ones are texts, too, and bytes that are no text become U+FFFD (in a table they
    are an error). Raises DataError, on iteration, as `read_rows` does.
    """
    if not table_suffix(path):
        with reading(path):
            for line in read_lines(path, encoding, newline="\n", errors="replace", longest=max_characters):
                yield line.removesuffix("\n").removesuffix("\r")
        return
    number = 0
    for number, (text,) in enumerate(read_table(path, (text_column,), encoding, max_characters=max_characters), 1):
        yield _text(text, f"{path}: row {number}", max_characters)
    if not number:
        raise DataError(f"{path}: no rows; add at least one")


def _settings(file: TextFile, names: Sequence[str]) -> str:
    """The settings that name the missing columns, with a guess at each among `names`."""
    there = {name.lower(): name for name, count in Counter(names).items() if count == 1}
    missing = [
        f"{setting}={next((there[name] for name in usual if name in there), 'NAME')}"
        for setting, column, usual in (
            ("data.text_column", file.text_column, _TEXTS),
            ("data.label_column", file.label_column, _LABELS),
        )[: 2 if file.has_labels else 1]
        if names.count(column) != 1
    ]
    return f"write {' '.join(missing)}" if missing else "rename the columns"


def _text(value: object, place: str, max_characters: int) -> str:
    if value is None:
        raise DataError(f"{place}: the text is null; delete the row or give it a text")
    if not isinstance(value, str):
        raise DataError(f"{place}: the text is of type {type(value).__name__}; write it as a string")
    if len(value) > max_characters:
        size = f"{len(value):,} characters, more than data.max_characters={max_characters}"
        raise DataError(f"{place}: the text has {size}; cut it, or write a larger setting")
    _check_whole(value, f"{place}: the text")
    return value


def _check_whole(value: str, place: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError as error:  # JSON's \ud83d alone
        raise DataError(f"{place} holds half a surrogate pair; write whole characters") from error


def _label(value: object, place: str) -> int | str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():  # a column of integers that passed through pandas
        value = int(value)
    if value is None or (isinstance(value, str) and not value.strip()):
        raise DataError(f"{place}: the label is {'null' if value is None else 'blank'}; give it one or delete the row")
    if not isinstance(value, int | str):
        name = f"label {value}" if isinstance(value, float) else "label"  # a list may be too deep to be shown
        raise DataError(f"{place}: the {name} is of type {type(value).__name__}; use 0, 1, … or names")
    if isinstance(value, str):
        if len(value) > LONGEST_LABEL:
            raise DataError(f"{place}: the label is longer than {LONGEST_LABEL} characters; check data.label_column")
        _check_whole(value, f"{place}: the label")
    if isinstance(value, int) and value >= 2**63:
        raise DataError(f"{place}: the label {str(value)[:20]}… is too large a number; write it as a name, in quotes")
    if isinstance(value, int) and value < 0:
        raise DataError(f"{place}: the label is {value}, and -1 marks unlabelled rows in IMDb; leave such rows out")
    return value


def _csv_label(value: str) -> bool | int | str:
    value = value.strip()
    if value.lower() in ("true", "false"):
        return value.lower() == "true"
    return int(value) if _INTEGER.fullmatch(value) else value
