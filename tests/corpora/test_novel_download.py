"""The novel is downloaded whole or not at all, from a server here that speaks TLS as Project Gutenberg's does."""

import hashlib
import http.server
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.corpora.gutenberg import BOOK, CRLF_NOTE, CUT_NOTE, INSIDE, OTHER_EDITION, complaint, remedy, written
from unroll.corpora import novel
from unroll.corpora.novel import FILE_NAME, Novel, find_novel

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
