"""A book is downloaded whole or not at all, from a server here that speaks TLS as Project Gutenberg's does."""

import hashlib
import socket
import threading
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.corpora.gutenberg import BOOK, CRLF_NOTE, CUT_NOTE, INSIDE, OTHER_EDITION, written
from tests.corpora.site import Handler, Site, refused
from unroll import progress
from unroll.corpora import texts
from unroll.corpora.texts import Text, find_text


def test_the_address_is_project_gutenbergs() -> None:
    assert texts.URL.format(1268) == "https://www.gutenberg.org/files/1268/1268-0.txt"
    assert texts.KNOWN[1268][1] == "355bfdc3f9b5e384b1918e817dd086ce0df97f4d294c69f032fb70b95c1e737c"
    assert (texts.PATIENCE, texts.LONGEST, texts.LARGEST_DOWNLOAD) == (10, 120, 8 * 2**20)


@pytest.mark.parametrize("source", ["auto", "download"])
def test_the_novel_is_downloaded_once(tmp_path: Path, site: Site, known: None, source: str) -> None:
    data = tmp_path / "new" / "data"
    expected = Text("download", "Project Gutenberg's book 1268", INSIDE, (CRLF_NOTE, CUT_NOTE))
    screen = StringIO()
    with progress.display(Console(file=screen)):
        assert find_text(source, None, data, gutenberg=1268) == expected
        assert find_text(source, None, data, gutenberg=1268).source == "local"
    assert screen.getvalue() == f"fetching {site.url().format(1268)} from Project Gutenberg\n", "once"
    assert [path for path in data.rglob("*") if path.is_file()] == [data / "1268-0.txt"]
    assert (data / "1268-0.txt").read_bytes() == BOOK
    [(path, headers)] = site.requests
    assert path == "/files/1268/1268-0.txt"
    assert headers["User-Agent"].startswith("unroll")

    again = find_text(source, None, data, gutenberg=1268)
    assert (again.source, again.text) == ("local", INSIDE)
    assert len(site.requests) == 1


def test_another_edition_is_taken_and_noted(tmp_path: Path, site: Site) -> None:
    assert find_text("download", None, tmp_path, gutenberg=1268).notes == (CRLF_NOTE, CUT_NOTE, OTHER_EDITION)
    assert (tmp_path / "1268-0.txt").read_bytes() == BOOK

    retitled = BOOK.replace(b"EBOOK THE MYSTERIOUS ISLAND", b"EBOOK MYSTERIOUS ISLAND, THE")
    site.answer = lambda handler: handler.send(retitled)
    found = find_text("download", None, tmp_path / "again", gutenberg=1268)
    assert found.text == INSIDE.replace("THE MYSTERIOUS ISLAND", "MYSTERIOUS ISLAND, THE", 1)
    assert hashlib.sha256(retitled).hexdigest()[:12] in found.notes[-1]


def test_an_answer_in_chunks_of_unknown_number(tmp_path: Path, site: Site) -> None:
    site.answer = lambda handler: handler.send(BOOK, Content_Length="")
    assert find_text("download", None, tmp_path, gutenberg=1268).text == INSIDE


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
        handler.send(BOOK, Content_Length=str(texts.LARGEST_DOWNLOAD + 1))
        site.over.wait(20)

    site.answer = promise
    assert refused(tmp_path) == "the answer is larger than 8 MiB"


def test_too_large_in_the_stream(tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.answer = lambda handler: handler.send(BOOK, Content_Length="")
    monkeypatch.setattr(texts, "LARGEST_DOWNLOAD", len(BOOK) - 1)
    assert refused(tmp_path).startswith("the answer is larger than")
    monkeypatch.setattr(texts, "LARGEST_DOWNLOAD", len(BOOK))
    assert find_text("download", None, tmp_path, gutenberg=1268).text == INSIDE


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
    monkeypatch.setattr(texts, "PATIENCE", 0.5)
    monkeypatch.setattr(texts, "LONGEST", 1.5 if answer is trickling else 20.0)
    assert refused(tmp_path).startswith("TimeoutError")


def test_a_failed_write_is_told_in_the_same_line(tmp_path: Path, site: Site) -> None:
    written(tmp_path / "data", "a file where the folder should be")
    assert refused(tmp_path / "data").startswith(("FileExistsError", "NotADirectoryError"))


# Out of reach.


def test_auto_without_network_says_what_to_do_at_once(tmp_path: Path, offline: list[str]) -> None:
    assert "Name or service not known" in refused(tmp_path, "auto"), "and takes no reviews instead"
    assert offline == ["www.gutenberg.org"], "one request, no retries"


def test_a_port_that_nobody_listens_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, direct: None) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: nobody else gets it meanwhile
        monkeypatch.setattr(texts, "URL", f"https://127.0.0.1:{taken.getsockname()[1]}/1268-0.txt")
        assert "Connection refused" in refused(tmp_path)


def test_a_resolver_that_hangs_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, direct: None) -> None:
    released = threading.Event()

    def hang(*_: Any, **__: Any) -> Any:
        released.wait(20)
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    monkeypatch.setattr(texts, "PATIENCE", 0.5)
    try:
        assert refused(tmp_path, "auto") == "TimeoutError"
    finally:
        released.set()
