"""The hub's files are downloaded once, checked, and a hub out of reach costs seconds."""

import hashlib
import http.server
import io
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from unroll.corpora.files import Row, read_rows
from unroll.corpora.imdb import find_corpus
from unroll.errors import DataError


def parquet(text: str) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table({"text": [text], "label": [1]}), sink)
    return sink.getvalue()


def test_offline_the_hub_gives_up_at_once(tmp_path: Path, offline: list[str]) -> None:
    start = time.perf_counter()
    with pytest.raises(DataError, match="stanfordnlp/imdb can't be had from the hub") as error:
        find_corpus("hub", None, tmp_path)
    assert time.perf_counter() - start < 2
    message = str(error.value)
    assert "\n" not in message
    assert "Name or service not known" in message
    assert f"into {tmp_path / 'imdb'}" in message
    assert "data.source=embedded" in message
    assert len(offline) == 1, "one request, no retries"


def test_a_resolver_that_hangs_is_left_after_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, direct: None
) -> None:
    released = threading.Event()

    def hang(*_: Any, **__: Any) -> Any:
        released.wait(20)
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    start = time.perf_counter()
    try:
        assert find_corpus("auto", None, tmp_path).source == "embedded"
        assert time.perf_counter() - start < 5
    finally:
        released.set()


class Hub(http.server.ThreadingHTTPServer):
    """Serves the two pinned files as the hub does; tests spoil `files`, `etags` or `sizes`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), HubHandler)
        self.files: dict[str, bytes] = {}
        for split in ("train", "test"):
            path = (
                "/datasets/stanfordnlp/imdb/resolve/e6281661ce1c48d982bc483cf8a173c1bbeb5d31"
                f"/plain_text/{split}-00000-of-00001.parquet"
            )
            self.files[path] = parquet(f"a review to {split} on")
        self.etags = {path: hashlib.sha256(content).hexdigest() for path, content in self.files.items()}
        self.sizes = {path: len(content) for path, content in self.files.items()}
        self.requests: list[str] = []


class HubHandler(http.server.BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self.server.requests.append(f"{self.command} {self.path}")
        if self.path not in self.server.files:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("X-Repo-Commit", "e6281661ce1c48d982bc483cf8a173c1bbeb5d31")
        self.send_header("X-Linked-Size", str(self.server.sizes[self.path]))
        self.send_header("ETag", f'"{self.server.etags[self.path]}"')
        self.send_header("Content-Length", str(len(self.server.files[self.path])))
        self.end_headers()

    def do_GET(self) -> None:
        self.do_HEAD()
        self.wfile.write(self.server.files.get(self.path, b""))

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, direct: None) -> Iterator[Hub]:
    with Hub() as server:
        address = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
        template = address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


def test_the_hub_is_downloaded_once_and_then_read_without_network(tmp_path: Path, hub: Hub) -> None:
    corpus = find_corpus("auto", None, tmp_path)
    assert (corpus.source, corpus.origin) == ("hub", "stanfordnlp/imdb@e6281661ce1c")
    assert corpus.label_names == ("negative", "positive")
    assert corpus.test is not None
    assert list(read_rows(corpus.train)) == [Row("a review to train on", 1)]
    assert list(read_rows(corpus.test)) == [Row("a review to test on", 1)]
    assert corpus.train.path.is_relative_to(tmp_path / "hub")

    script = """
import os, socket, sys
from pathlib import Path
socket.getaddrinfo = lambda *_, **__: os._exit(3)
from unroll.corpora.imdb import find_corpus
print(find_corpus("hub", None, Path(sys.argv[1])).test.path)
"""
    fresh = {**os.environ, "HF_HOME": str(tmp_path / "home")}  # a process and a home that remember nothing
    command = [sys.executable, "-c", script, str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, env=fresh, check=False)
    assert (result.returncode, result.stdout.strip()) == (0, str(corpus.test.path))


def test_a_download_of_excessive_size_is_refused_before_it_starts(tmp_path: Path, hub: Hub) -> None:
    hub.sizes = dict.fromkeys(hub.sizes, 201 * 2**20)
    with pytest.raises(DataError, match=r"has 210763776 bytes, over 209715200; put train\.parquet") as error:
        find_corpus("hub", None, tmp_path)
    assert "\n" not in str(error.value)
    assert [request.split()[0] for request in hub.requests] == ["HEAD"]


def test_a_download_with_another_hash_is_deleted(tmp_path: Path, hub: Hub) -> None:
    (path, content), *_ = hub.files.items()
    hub.files[path] = content.replace(b"a review", b"A review")
    with pytest.raises(DataError, match=r"train-00000-of-00001\.parquet came damaged .*; run again") as error:
        find_corpus("hub", None, tmp_path)
    assert "\n" not in str(error.value)
    hub.files[path] = content
    assert list(read_rows(find_corpus("hub", None, tmp_path).train)) == [Row("a review to train on", 1)]


def test_a_download_cut_short_leaves_nothing_that_passes_for_the_file(tmp_path: Path, hub: Hub) -> None:
    (path, content), *_ = hub.files.items()
    hub.files[path] = content[:-100]
    with pytest.raises(DataError, match="can't be had from the hub"):
        find_corpus("hub", None, tmp_path)
    hub.files[path] = content
    assert list(read_rows(find_corpus("hub", None, tmp_path).train)) == [Row("a review to train on", 1)]


def test_a_hub_without_the_revision_is_an_error_of_one_line(tmp_path: Path, hub: Hub) -> None:
    hub.files.clear()
    with pytest.raises(DataError, match="can't be had from the hub") as error:
        find_corpus("hub", None, tmp_path)
    assert "\n" not in str(error.value)
    assert find_corpus("auto", None, tmp_path).source == "embedded"
