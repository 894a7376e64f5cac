"""A text that stays on disk: the same tokens, vocabulary and figures as one in memory."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.tasks.conftest import novel_config
from unroll import runtime
from unroll.config.settings import TOKENIZERS
from unroll.corpora import long_texts
from unroll.errors import DataError
from unroll.tasks.spec import load_data
from unroll.text import stored as stored_texts
from unroll.text import workers

LINES = [f"The {n} seas, l'île n° {n}; “captain” 船 {'x' * (n % 7)}\n" for n in range(400)]
TEXT = "".join(LINES)


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_texts, "CHUNK", 100)
    monkeypatch.setattr(workers, "HERE", 10**6)  # in this process, where no test says otherwise


def read(path: Path, folder: Path, **settings: Any) -> Any:
    return load_data(novel_config(path, **{"data__folder": str(folder), **settings}))


def assert_same(one: Any, other: Any) -> None:
    for name in ("fingerprint", "opening", "unknown", "vocabulary"):
        assert getattr(one, name) == getattr(other, name), name
    assert one.about() == other.about()
    for split in ("train", "val", "test"):
        left, right = getattr(one, split), getattr(other, split)
        assert np.array_equal(left.ids, right.ids)
        assert left.size == pytest.approx(right.size)


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
@pytest.mark.parametrize("limit", [None, 5000])
def test_it_is_the_text_in_memory(tmp_path: Path, tokenizer: str, limit: int | None) -> None:
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    settings = {"data__tokenizer": tokenizer, "data__limit": limit, "data__min_freq": 2}
    whole = read(path, tmp_path, **settings)
    on_disk = read(path, tmp_path / "data", data__max_characters=1000, **settings)
    assert not isinstance(whole.train.ids, np.memmap)
    assert isinstance(on_disk.train.ids, np.memmap)
    assert on_disk.train.ids.dtype == (np.uint16 if len(on_disk.vocabulary) > 256 else np.uint8)
    assert_same(whole, on_disk)


@pytest.mark.parametrize("tokenizer", ["characters", "whitespace"])
def test_processes_store_what_one_stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tokenizer: str) -> None:
    (tmp_path / "text.txt").write_text(TEXT)
    settings: Any = {"data__max_characters": 1000, "data__tokenizer": tokenizer}
    alone = read(tmp_path / "text.txt", tmp_path / "alone", **settings)
    monkeypatch.setattr(workers, "HERE", 4)
    monkeypatch.setattr(runtime, "usable_cores", lambda: 2)
    assert_same(alone, read(tmp_path / "text.txt", tmp_path / "together", **settings))


def test_every_form_of_the_text_is_the_same(tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    (tmp_path / "whole.txt").write_text(TEXT)
    (folder / "a.txt").write_bytes("".join(LINES[:100]).replace("\n", "\r\n").encode())
    with gzip.open(folder / "b.txt.gz", "wt") as file:
        file.write("".join(LINES[100:200]).removesuffix("\n"))  # each file ends a line
    (folder / "c.jsonl").write_text("".join(json.dumps({"text": line}) + "\n" for line in LINES[200:300]))
    pq.write_table(pa.table({"text": [line.removesuffix("\n") for line in LINES[300:]]}), folder / "d.parquet")
    (folder / "notes.md").write_text("not read")
    assert_same(read(tmp_path / "whole.txt", tmp_path), read(folder, tmp_path / "data"))


def test_what_is_stored_is_read_again_until_the_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    first = read(path, tmp_path / "data", data__max_characters=1000)
    with monkeypatch.context() as patch:
        patch.setattr(stored_texts, "_survey", lambda chunks: pytest.fail("it was read again"))
        assert_same(first, read(path, tmp_path / "data", data__max_characters=1000))
    path.write_text(TEXT.replace("captain", "sailors"))
    assert read(path, tmp_path / "data", data__max_characters=1000).fingerprint != first.fingerprint


def test_another_file_of_the_same_name_size_and_time_is_read(tmp_path: Path) -> None:
    found = []
    for name, text in (("a", TEXT), ("b", TEXT.replace("captain", "sailors"))):
        (tmp_path / name).mkdir()
        path = tmp_path / name / "text.txt"
        path.write_text(text)
        os.utime(path, (1, 1))
        found.append(read(path, tmp_path / "data", data__max_characters=1000))
    assert found[0].fingerprint != found[1].fingerprint
    assert not np.array_equal(found[0].train.ids, found[1].train.ids)


def test_a_torn_store_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    first = read(path, tmp_path / "data", data__max_characters=1000)
    (tokens,) = (tmp_path / "data").glob("text-*/0.bin")
    expected = first.train.ids.copy()
    tokens.write_bytes(tokens.read_bytes()[:-1])
    assert np.array_equal(read(path, tmp_path / "data", data__max_characters=1000).train.ids, expected)


@pytest.mark.parametrize("content", ["{}", "[1]", "", "text", '\n{"survey": [1]}', b"\xff"])
def test_something_else_in_its_place_is_replaced_with_a_message(
    tmp_path: Path, content: str | bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    first = read(path, tmp_path / "data", data__max_characters=1000)
    (about,) = (tmp_path / "data").glob("text-*/about.json")
    good = about.read_bytes()
    assert capsys.readouterr().err == ""
    for bad in (content, good.replace(b"captain", b"captains", 1), good[:-1], good.replace(b"0", b"1", 1)):
        about.write_bytes(bad.encode() if isinstance(bad, str) else bad)
        assert_same(first, read(path, tmp_path / "data", data__max_characters=1000))
        said = capsys.readouterr().err
        if bad != good:
            assert said.startswith(f"The tokens in {about.parent} are damaged (") and said.count("\n") == 1
    assert about.read_bytes() == good


def test_rare_words_are_dropped_where_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_texts, "MOST_TYPES", 50)
    lines = [f"sea island word{n}\n" for n in range(500)]
    counts = stored_texts._counted("whitespace", iter(lines))
    assert len(counts) <= 50
    assert counts["sea"] == counts["island"] == 500


def test_what_a_packed_text_expands_to_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_texts, "LARGEST_EXPANDED", 5000)
    path = tmp_path / "text.txt.gz"
    path.write_bytes(gzip.compress(TEXT.encode()))
    with pytest.raises(DataError, match="expands to more than 5,000 characters; cut it into files"):
        read(path, tmp_path / "data")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("text.txt.gz", gzip.compress(TEXT.encode())[:-20], "damaged gzip"),
        ("text.txt.gz", gzip.compress(b"the sea\n" * 200 + b"\xff\n"), "line 201 is not UTF-8"),
        ("text.jsonl", b'{"text": "a"}\n{"txt": "b"}\n', "row 2|line 2"),
        ("folder", None, "holds no text; put .txt, .txt.gz"),
    ],
    ids=["torn", "no text", "no column", "empty folder"],
)
def test_refusals(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    path = tmp_path / name
    path.mkdir() if content is None else path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read(path, tmp_path / "data")
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "data").glob("text-*/about.json"))
