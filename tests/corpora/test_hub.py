"""The hub's files are downloaded once, checked, and a hub out of reach costs seconds."""

import hashlib
import http.server
import io
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import datasets
import huggingface_hub
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, DatasetDict

from unroll.corpora import imdb
from unroll.corpora.files import Row, read_rows
from unroll.corpora.imdb import find_corpus
from unroll.errors import DataError

REVISION = "e6281661ce1c48d982bc483cf8a173c1bbeb5d31"
TRAIN = [Row("a film to train on", 1), Row('<br /> "odd"\x00 😀\r\n', 0)]
TEST = [Row("a film to test on", 0), Row("", 1)]


def refused(data_dir: Path) -> str:
    """The message of the one-line DataError that asking for the hub raises; nothing may have been left behind."""
    with pytest.raises(DataError, match=r"^stanfordnlp/imdb can't be had from the hub \(") as error:
        find_corpus("hub", None, data_dir)
    message = str(error.value)
    assert "\n" not in message
    assert f"; put train.parquet and test.parquet (columns text, label) into {data_dir / 'imdb'}, or" in message
    assert message.endswith("python scripts/train.py task=imdb data.source=embedded")
    return message


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


# Out of reach.


def test_offline_the_hub_gives_up_at_once(tmp_path: Path, offline: list[str]) -> None:
    start = time.perf_counter()
    message = refused(tmp_path)
    assert time.perf_counter() - start < 2
    assert "Name or service not known" in message
    assert len(offline) == 1, "one request, no retries"


def test_a_resolver_that_hangs_is_left_after_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, direct: None
) -> None:
    released = threading.Event()

    def hang(*_: Any, **__: Any) -> Any:
        released.wait(20)
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    assert imdb.HUB_PATIENCE <= 3
    monkeypatch.setattr(imdb, "HUB_PATIENCE", 0.5)
    start = time.perf_counter()
    try:
        assert find_corpus("auto", None, tmp_path).source == "embedded"
        assert time.perf_counter() - start < 2
    finally:
        released.set()


# What is done with what `datasets` gives; the hub itself is played here, and below by a server.


class Hub:
    """What the hub would give; tests spoil `splits`, `size` or `error`."""

    def __init__(self) -> None:
        self.splits = {"train": TRAIN, "test": TEST}
        self.size: int | None = 21_000_000
        self.error: Exception | None = None
        self.calls: list[dict[str, Any]] = []

    def get_hf_file_metadata(self, url: str, **_: Any) -> Any:
        return type("Metadata", (), {"size": self.size})

    def load_dataset(self, path: str, **options: Any) -> DatasetDict:
        self.calls.append({"path": path, **options})
        if self.error is not None:
            raise self.error
        columns = {
            split: {"text": [row.text for row in rows], "label": [row.label for row in rows]}
            for split, rows in self.splits.items()
        }
        return DatasetDict({split: Dataset.from_dict(column) for split, column in columns.items()})


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Hub:
    played = Hub()
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", played.get_hf_file_metadata)
    monkeypatch.setattr(datasets, "load_dataset", played.load_dataset)
    monkeypatch.setattr(imdb, "HUB_ROWS", 2)
    return played


def test_the_data_set_is_asked_for_once_at_its_revision(tmp_path: Path, hub: Hub) -> None:
    for source in ("auto", "hub", "hub"):
        corpus = find_corpus(source, None, tmp_path)
        assert (corpus.source, corpus.origin) == ("hub", "stanfordnlp/imdb@e6281661ce1c")
        assert corpus.label_names == ("negative", "positive")
        assert corpus.train.path == tmp_path / "hub" / "e6281661ce1c" / "train.parquet"
        assert corpus.test is not None
        assert list(read_rows(corpus.train)) == TRAIN
        assert list(read_rows(corpus.test)) == TEST
    assert [(call["path"], call["revision"]) for call in hub.calls] == [("stanfordnlp/imdb", REVISION)]
    assert sorted(path.name for path in files_below(tmp_path)) == ["test.parquet", "train.parquet"]


def test_one_file_alone_is_completed(tmp_path: Path, hub: Hub) -> None:
    corpus = find_corpus("hub", None, tmp_path)
    assert corpus.test is not None
    corpus.test.path.unlink()
    assert find_corpus("hub", None, tmp_path) == corpus
    assert list(read_rows(corpus.test)) == TEST


def test_files_at_hand_need_neither_network_nor_datasets(tmp_path: Path, hub: Hub) -> None:
    corpus = find_corpus("hub", None, tmp_path)
    script = """
import os, socket, sys
from pathlib import Path
socket.socket.connect = socket.getaddrinfo = lambda *_, **__: os._exit(3)
from unroll.corpora.imdb import find_corpus
print(find_corpus(sys.argv[2], None, Path(sys.argv[1])).train.path)
assert not {"datasets", "huggingface_hub", "pyarrow"} & set(sys.modules)
"""
    for source in ("auto", "hub"):
        command = [sys.executable, "-c", script, str(tmp_path), source]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (result.returncode, result.stdout.strip()) == (0, str(corpus.train.path)), result.stderr


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize(
    ("rows", "found"),
    [
        ([Row("a", 0)], r"1 rows, labels \[0\]"),
        ([Row("a", 0), Row("b", 1), Row("c", 1)], r"3 rows, labels \[0, 1\]"),
        ([Row("a", -1), Row("b", -1)], r"2 rows, labels \[-1\]"),
        ([Row("a", 1), Row("b", 1)], r"2 rows, labels \[1\]"),
        ([Row("a", 0), Row("b", 2)], r"2 rows, labels \[0, 2\]"),
    ],
)
def test_a_damaged_split_never_gets_its_name(tmp_path: Path, hub: Hub, split: str, rows: list[Row], found: str) -> None:
    hub.splits = {**hub.splits, split: rows}
    with pytest.raises(DataError, match=rf"\({split} came damaged from the hub: {found}; run again\); put train"):
        find_corpus("hub", None, tmp_path)
    assert not files_below(tmp_path)
    hub.splits = {"train": TRAIN, "test": TEST}
    assert list(read_rows(find_corpus("hub", None, tmp_path).train)) == TRAIN


def test_the_real_splits_have_25000_rows() -> None:
    assert imdb.HUB_ROWS == 25_000


@pytest.mark.parametrize("size", [None, 0, 201 * 2**20])
def test_a_download_of_excessive_size_is_refused_before_it_starts(tmp_path: Path, hub: Hub, size: int | None) -> None:
    hub.size = size
    assert f"(the files have [{size}, {size}] bytes there, over 209715200)" in refused(tmp_path)
    assert not hub.calls


def test_a_failing_download_is_one_line_and_auto_goes_on(tmp_path: Path, hub: Hub) -> None:
    hub.error = ConnectionError("Couldn't reach it\nin several\nlines")
    assert "(ConnectionError: Couldn't reach it);" in refused(tmp_path)
    assert find_corpus("auto", None, tmp_path).source == "embedded"
    assert not files_below(tmp_path)


def test_a_download_without_end_is_left(tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    monkeypatch.setattr(imdb, "HUB_LONGEST", 0.1)
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: released.wait(20))
    start = time.perf_counter()
    assert "(TimeoutError);" in refused(tmp_path)
    assert time.perf_counter() - start < 2
    released.set()


@pytest.mark.parametrize("fault", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_write_that_fails_midway_leaves_nothing(
    tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch, fault: BaseException
) -> None:
    def fail(_: Dataset, file: BinaryIO) -> None:
        file.write(b"PAR1 and half a table")
        raise fault

    with monkeypatch.context() as patch:
        patch.setattr(Dataset, "to_parquet", fail)
        with pytest.raises((DataError, KeyboardInterrupt), match=r"No space left on device\); put|^$"):
            find_corpus("hub", None, tmp_path)
    assert not files_below(tmp_path)
    assert list(read_rows(find_corpus("hub", None, tmp_path).train)) == TRAIN


# `datasets` itself, against a server that answers as the hub does.


def parquet(rows: list[Row]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table({"text": [row.text for row in rows], "label": [row.label for row in rows]}), sink)
    return sink.getvalue()


FILES = {
    f"plain_text/{split}-00000-of-00001.parquet": parquet(rows)
    for split, rows in {"train": TRAIN, "test": TEST, "unsupervised": [Row("no label", -1)]}.items()
}


class HubHandler(http.server.BaseHTTPRequestHandler):
    requests: list[tuple[str, str | None]]

    def do_GET(self) -> None:
        self.requests.append((self.path, self.headers["Authorization"]))
        path = self.path.partition("?")[0]
        content = FILES.get(path.removeprefix(f"/datasets/stanfordnlp/imdb/resolve/{REVISION}/"))
        if path == f"/api/datasets/stanfordnlp/imdb/revision/{REVISION}":
            content = json.dumps({"id": "stanfordnlp/imdb", "sha": REVISION, "siblings": []}).encode()
        elif path == f"/api/datasets/stanfordnlp/imdb/tree/{REVISION}/plain_text":
            tree = [{"type": "file", "path": name, "size": len(file)} for name, file in FILES.items()]
            content = json.dumps([{"oid": "0" * 40, **entry} for entry in tree]).encode()
        self.send_response(200 if content is not None else 404)
        self.send_header(
            "X-Repo-Commit" if content is not None else "X-Error-Code", REVISION if content else "EntryNotFound"
        )
        self.send_header("ETag", f'"{hashlib.sha256(content or b"").hexdigest()}"')
        self.send_header("Content-Length", str(len(content or b"")))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content or b"")

    do_HEAD = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[tuple[str, list[tuple[str, str | None]]]]:
    requests: list[tuple[str, str | None]] = []
    handler = type("Handler", (HubHandler,), {"requests": requests})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", requests
        server.shutdown()


def test_datasets_fetches_the_two_splits_and_sends_no_token(
    tmp_path: Path, server: tuple[str, list[tuple[str, str | None]]]
) -> None:
    address, requests = server
    script = """
import sys
from pathlib import Path
from unroll.corpora import imdb
imdb.HUB_PATIENCE, imdb.HUB_ROWS = 30, 2
imdb.find_corpus("hub", None, Path(sys.argv[1]))
"""
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    environment |= {"HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": "hf_secret"}
    environment |= {"HF_HUB_OFFLINE": "0", "HF_DATASETS_OFFLINE": "0", "HF_UPDATE_DOWNLOAD_COUNTS": "0"}
    command = [sys.executable, "-c", script, str(tmp_path / "data")]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert result.returncode == 0, result.stderr

    corpus = find_corpus("hub", None, tmp_path / "data")
    assert corpus.test is not None
    assert (list(read_rows(corpus.train)), list(read_rows(corpus.test))) == (TRAIN, TEST)
    assert len(files_below(tmp_path / "data")) == 2
    assert any("train-00000" in path for path, _ in requests)
    assert not any("unsupervised" in path for path, _ in requests)
    assert {token for _, token in requests} == {None}
