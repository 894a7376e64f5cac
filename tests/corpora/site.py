"""A server on this machine in Project Gutenberg's place: it speaks TLS as that does."""

import http.server
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.corpora.gutenberg import BOOK, complaint, remedy
from unroll.corpora import texts
from unroll.corpora.texts import find_text

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


def serving(site: Site) -> Iterator[Site]:
    with site:
        threading.Thread(target=site.serve_forever, args=(0.02,), daemon=True).start()
        yield site
        site.over.set()
        site.shutdown()


def refused(data_dir: Path, source: str = "download") -> str:
    """The reason in the DataError that asking for the novel raises; nothing may have been left behind."""
    before = sorted(data_dir.rglob("*"))
    message = complaint(lambda: find_text(source, None, data_dir, gutenberg=1268))
    assert sorted(data_dir.rglob("*")) == before
    assert message.startswith(f"{texts.URL.format(1268)} can't be fetched (")
    assert message.endswith(")" + remedy(data_dir))
    return message.removeprefix(f"{texts.URL.format(1268)} can't be fetched (").removesuffix(")" + remedy(data_dir))
