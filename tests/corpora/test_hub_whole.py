"""Files of the hub get their names once all are whole."""

import json
import shutil
import threading
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from tests.corpora.hub import Hub
from tests.corpora.sets import SHARDS, TRAIN, fetched, files_below, get, refused
from unroll.corpora import hub as hub_module
from unroll.corpora.files import read_rows
from unroll.errors import DataError


def test_a_file_too_many_bytes_long_is_not_fetched(tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (hub_module.HUB_LARGEST_FILE, hub_module.HUB_LARGEST) == (2**30, 2**32)
    sizes = {path: len(content) for path, content in SHARDS.items() if "unsupervised" not in path}
    monkeypatch.setattr(hub_module, "HUB_LARGEST_FILE", max(sizes.values()) - 1)
    assert f"its files have {sum(sizes.values()):,} bytes there, the largest" in refused(tmp_path, "me/reviews")
    monkeypatch.setattr(hub_module, "HUB_LARGEST_FILE", max(sizes.values()))
    monkeypatch.setattr(hub_module, "HUB_LARGEST", sum(sizes.values()) - 1)
    assert f"or {sum(sizes.values()) - 1:,} in all" in refused(tmp_path, "me/reviews")
    assert not fetched(hub)
    monkeypatch.setattr(hub_module, "HUB_LARGEST", sum(sizes.values()))
    assert list(read_rows(get(tmp_path, "me/reviews").train)) == TRAIN


@pytest.mark.parametrize("size", [None, 0])
def test_a_file_of_unknown_size_is_not_fetched(tmp_path: Path, hub: Hub, size: int | None) -> None:
    hub.sizes["train.jsonl"] = size
    assert "(its card names a file that is empty or none of its own)" in refused(tmp_path, "me/card")


@pytest.mark.parametrize("path", [path for path in SHARDS if "unsupervised" not in path])
@pytest.mark.parametrize("fault", ["size", "sha256", "bytes"])
def test_a_damaged_file_never_gets_its_name(tmp_path: Path, hub: Hub, path: str, fault: str) -> None:
    commit = hub.commit("me/reviews")
    if fault == "size":
        hub.sizes[path] = len(SHARDS[path]) + 1
    elif fault == "sha256":
        hub.sha256s[path] = "0" * 64
    else:
        hub.sent[path] = b"x" * len(SHARDS[path])
    said = f"{len(SHARDS[path]):,} bytes, not" if fault == "size" else "its SHA-256 is not the hub's"
    assert f"({path} was damaged on the way: {said}" in refused(tmp_path / "data", "me/reviews")
    hub.sizes, hub.sha256s, hub.sent = {}, {}, {}
    assert hub.commit("me/reviews") == commit
    assert list(read_rows(get(tmp_path / "data", "me/reviews").train)) == TRAIN


def test_a_lost_or_shortened_file_is_fetched_again(tmp_path: Path, hub: Hub) -> None:
    name = f"me/reviews@{hub.commit('me/reviews')}"
    corpus = get(tmp_path, name)
    [record] = tmp_path.rglob("set.json")
    for spoil in (
        corpus.train.paths[1].unlink,
        lambda: corpus.train.paths[0].write_bytes(b"PAR1"),
        lambda: record.write_text("{"),
        lambda: record.write_text(json.dumps({"commit": "x", "splits": 1})),
    ):
        spoil()
        assert get(tmp_path, name) == corpus
        assert list(read_rows(corpus.train)) == TRAIN


@pytest.mark.parametrize("fault", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_write_that_fails_midway_leaves_no_set(
    tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch, fault: BaseException
) -> None:
    def fail(content: Any, stream: Any) -> None:
        stream.write(b"PAR1 and half a table")
        raise fault

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfileobj", fail)
        with pytest.raises((DataError, KeyboardInterrupt), match=r"No space left on device\); put|^$"):
            get(tmp_path / "data", "me/reviews")
    assert not files_below(tmp_path / "data")
    assert list(read_rows(get(tmp_path / "data", "me/reviews").train)) == TRAIN


def test_a_download_without_end_is_left(tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    monkeypatch.setattr(hub_module, "HUB_LONGEST", 0.1)
    monkeypatch.setattr(hub_module, "_splits", lambda *_: ({"train": ["train.jsonl"]}, {}))
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *_, **__: released.wait(20))
    assert "(TimeoutError);" in refused(tmp_path, "me/card")
    released.set()
