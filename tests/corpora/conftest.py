"""Keeps the tests off the network, and has a known copy of the novel."""

import socket
from typing import Any

import huggingface_hub.constants
import pytest

from tests.corpora.gutenberg import BOOK_SHA256
from unroll.corpora import novel


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
    monkeypatch.setattr(novel, "KNOWN_SHA256", BOOK_SHA256)
