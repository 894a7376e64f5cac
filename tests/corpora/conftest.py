"""Keeps the tests off the network, and has a known copy of a book."""

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest

from tests.corpora.gutenberg import BOOK_SHA256, written
from tests.corpora.hub import Hub
from tests.corpora.sets import SETS
from tests.corpora.site import CERTIFICATE, KEY, Site, serving
from unroll.corpora import hub as hub_module
from unroll.corpora import texts


@pytest.fixture
def direct(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests go straight to their host, whatever proxy or offline switch the environment sets."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    # Else the library's first request in a process is one for its user agent's sake, and tests depend on their order.
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_TELEMETRY", True)
    huggingface_hub.close_session()  # the proxies of an old session go with it


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, direct: None) -> list[str]:
    """No name can be resolved; gives the names that were asked for."""
    asked: list[str] = []

    def fail(host: Any, *_: Any, **__: Any) -> Any:
        asked.append(str(host))
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    return asked


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """BOOK is the known copy."""
    monkeypatch.setitem(texts.KNOWN, 1268, ("THE MYSTERIOUS ISLAND", BOOK_SHA256))


@pytest.fixture
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the key and the certificate."""
    parts = {"PRIVATE KEY": KEY, "CERTIFICATE": CERTIFICATE}
    pem = "".join(f"-----BEGIN {name}-----\n{part}-----END {name}-----\n" for name, part in parts.items())
    return written(tmp_path_factory.mktemp("certificate") / "test.pem", pem)


@pytest.fixture
def site(certificate: Path, monkeypatch: pytest.MonkeyPatch, direct: None) -> Iterator[Site]:
    """A server in Project Gutenberg's place, whose certificate is trusted."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    site = Site(context)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    monkeypatch.setattr(texts, "URL", site.url())
    yield from serving(site)


@pytest.fixture
def plain_site() -> Iterator[Site]:
    yield from serving(Site(None))


@pytest.fixture
def hub(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, direct: None) -> Iterator[Hub]:
    with Hub(SETS) as hub:
        hub.patch(monkeypatch, tmp_path_factory.mktemp("home"))
        monkeypatch.setattr(hub_module, "HUB_PATIENCE", 30.0)
        yield hub
