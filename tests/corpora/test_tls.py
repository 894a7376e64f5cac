"""A book comes over verified TLS, and by no other way."""

import re
import ssl
from pathlib import Path

import pytest

from tests.corpora.gutenberg import BOOK, INSIDE, written
from tests.corpora.site import Handler, Site, refused
from unroll.corpora import texts
from unroll.corpora.texts import find_text


def test_a_certificate_that_is_not_trusted(tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    monkeypatch.setattr(ssl, "_create_default_https_context", ssl._create_unverified_context)  # as torchtext does
    assert "CERTIFICATE_VERIFY_FAILED" in refused(tmp_path)
    assert not site.requests


def test_a_certificate_of_another_host(tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "URL", site.url(host="localhost"))
    assert "Hostname mismatch" in refused(tmp_path)
    assert not site.requests


def test_redirects_are_followed_within_https(tmp_path: Path, site: Site) -> None:
    def answer(handler: Handler) -> None:
        if handler.path == "/moved":
            handler.send(BOOK)
        else:
            handler.send(b"", 302, Location="/moved")

    site.answer = answer
    assert find_text("download", None, tmp_path, gutenberg=1268).text == INSIDE
    assert [path for path, _ in site.requests] == ["/files/1268/1268-0.txt", "/moved"]


@pytest.mark.parametrize("scheme", ["http", "ftp", "file"])
def test_no_redirect_leads_out_of_https(tmp_path: Path, site: Site, plain_site: Site, scheme: str) -> None:
    book = written(tmp_path / "book.txt", BOOK)
    target = {"http": plain_site.url(), "ftp": plain_site.url().replace("http", "ftp", 1), "file": book.as_uri()}
    site.answer = lambda handler: handler.send(b"", 302, Location=target[scheme])
    assert re.search(f"unknown url type: {scheme}|HTTP Error 302", refused(tmp_path / "data"))
    assert not plain_site.requests


def test_an_address_without_tls(tmp_path: Path, plain_site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "URL", plain_site.url())
    assert "unknown url type: http" in refused(tmp_path)
    assert not plain_site.requests
