"""Texts that are too long for memory: files, plain, compressed or tables, read one after another in chunks."""

from __future__ import annotations

import codecs
import gzip
import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from unroll import progress
from unroll.config.classification import MAX_CHARACTERS
from unroll.corpora.files import read_texts
from unroll.corpora.tables import LARGEST_EXPANDED, READERS, codec, reading, table_suffix, undecodable
from unroll.errors import DataError

CHUNK = 2**20  # characters of a chunk, about, and bytes that are read at a time
LONGEST_LINE = 2**23  # characters; a longer line is cut
ENDS = 4096  # bytes of a file, at each end, by which it is known again
PLAIN = (".txt", ".txt.gz")


@dataclass(frozen=True)
class LongText:
    """A text in files. The text of each file, and of each row of a table, ends with a line end."""

    files: tuple[Path, ...]
    encoding: str = "utf-8"
    """Of plain texts, csv and JSON Lines."""
    text_column: str = "text"
    """Of tables."""

    def __str__(self) -> str:
        more = len(self.files) - 1
        return f"{self.files[0]}" + (f" (and {more} more)" if more else "")

    def state(self) -> list[object]:
        """Return what tells whether the files have changed, without reading them all: names, sizes and times, what
        they begin and end with, and the options."""
        files = [(path.name, path.stat().st_size, path.stat().st_mtime_ns, _ends(path)) for path in self.files]
        return [*files, codec(self.encoding), self.text_column]

    def chunks(self, doing: str = "reading") -> Iterator[str]:
        """Yield the text in chunks of about a million characters, cut after line ends, its lines ending in \\n.

        Only a line of more than `LONGEST_LINE` characters is cut within. Plain texts show how far they are read, and
        what for: `doing`.

        Raises:
            DataError: on iteration, for a file that is missing, empty, damaged, or of another encoding.
        """
        for path in self.files:
            ended = True
            for chunk in _rows(path, self) if table_suffix(path) else _plain(path, self.encoding, doing):
                ended = chunk.endswith("\n")
                yield chunk
            if not ended:
                yield "\n"


def find_long_text(path: Path, encoding: str, text_column: str, max_characters: int) -> LongText | None:
    """Return the long text at `path`: the files of a folder in the order of their names, a compressed file, a table, or
    a plain text of more than `max_characters` bytes. Return None for any other text.

    Raises:
        DataError: a folder has no such file.
    """
    if path.is_dir():
        files = tuple(sorted(file for file in path.iterdir() if file.is_file() and _is_known(file)))
        if not files:
            raise DataError(f"{path}: holds no text; put {', '.join((*PLAIN, *READERS))} files into it")
        return LongText(files, encoding, text_column)
    is_packed = _is_known(path) and path.suffix.lower() != ".txt"
    is_long = path.is_file() and (is_packed or path.stat().st_size > max_characters)
    return LongText((path,), encoding, text_column) if is_long else None


def _ends(path: Path) -> str:
    """Return a digest of the first and the last bytes of a file. The last of a .gz file depend on all of its text."""
    with reading(path), path.open("rb") as file:
        first = file.read(ENDS)
        file.seek(max(0, path.stat().st_size - ENDS))
        return hashlib.sha256(first + file.read(ENDS)).hexdigest()


def _is_known(path: Path) -> bool:
    return path.name.lower().endswith(PLAIN) or bool(table_suffix(path))


def _plain(path: Path, encoding: str, doing: str) -> Iterator[str]:
    """Yield the chunks of a plain text, expanded if its name ends in .gz."""
    decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder(codec(encoding))(), translate=True)
    is_packed, kept, lines, size = path.suffix.lower() == ".gz", "", 0, 0
    with (
        reading(path),
        path.open("rb") as file,
        gzip.GzipFile(fileobj=file) if is_packed else file as content,
        progress.begin(f"{doing} {path.name}", path.stat().st_size) as task,
    ):
        is_over = False
        while not is_over:
            read = content.read(CHUNK)
            is_over = not read
            try:
                text = decoder.decode(read, final=is_over)
            except UnicodeDecodeError as error:
                raise undecodable(path, error, lines, encoding) from error
            lines, size = lines + text.count("\n"), size + len(text)
            if is_packed and size > LARGEST_EXPANDED:
                raise DataError(f"{path}: expands to more than {LARGEST_EXPANDED:,} characters; cut it into files")
            kept += text
            end = len(kept) if is_over or len(kept) > LONGEST_LINE else kept.rfind("\n") + 1
            if end:
                yield kept[:end]
                kept = kept[end:]
            task.update(file.tell())


def _rows(path: Path, text: LongText) -> Iterator[str]:
    """Yield the rows of a table, as many as make a chunk."""
    rows: list[str] = []
    size = 0
    for row in read_texts(path, text.text_column, text.encoding, MAX_CHARACTERS):
        line = row.replace("\r\n", "\n").replace("\r", "\n")
        rows.append(line if line.endswith("\n") else f"{line}\n")
        size += len(line)
        if size > CHUNK:
            yield "".join(rows)
            rows, size = [], 0
    yield "".join(rows)
