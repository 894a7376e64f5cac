"""What a file may take is bounded before it is taken, the bounds are settings, and long reading shows how far it is."""

import gzip
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from tests.faults import parquet
from tests.faults.bombs import BOMBS, bombs
from unroll import progress
from unroll.config import ClassificationDataConfig
from unroll.corpora import tables
from unroll.corpora.files import Row, TextFile, read_rows, read_texts
from unroll.corpora.thrift import Thrift
from unroll.errors import ConfigError, DataError
from unroll.tasks.documents import load_tokens
from unroll.text.tokenized import tokenize

QUICK = [
    "a long text in every row.parquet",
    "zeros by zstd.parquet",
    "zeros by gzip.parquet",
    "a page of two gigabytes, it says.parquet",
    "texts that begin as the one before.parquet",
    "a count inside of a page.parquet",
    "a dictionary of 2,000,000,000, it says.parquet",
    "2,000,000 chunks.parquet",
    "deep names of classes.parquet",
    "many fields in a row.csv",
    "zeros.csv.gz",
    "objects.jsonl",
    "deep lists.jsonl",
    "a deep label.jsonl",
    "a long number.jsonl",
    "a long line.txt",
]


def rows_of(path: Path, **options: Any) -> list[Row]:
    return list(read_rows(TextFile((path,), **options)))


def complaint(work: Callable[[], object]) -> str:
    with pytest.raises(DataError) as error:
        work()
    assert "\n" not in str(error.value)
    return str(error.value)


def test_no_bomb_takes_a_gibibyte(tmp_path: Path) -> None:
    outcome = bombs(tmp_path, QUICK)
    assert outcome.lost == []
    assert outcome.tried == len(QUICK)
    assert outcome.notes["read"] == 1, "deep names of classes are none"


def test_bombs_have_names_of_kinds_that_are_read() -> None:
    assert all(Path(name).suffix in {*tables.READERS, ".gz", ".txt"} for name in BOMBS)


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.parquet"])
def test_the_longest_text_is_a_setting(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    text = "é" * 1001
    if name.endswith("parquet"):
        pq.write_table(pa.table({"text": ["a", text], "label": [1, 0]}), path)
    else:
        row = '{{"text": "{}", "label": {}}}\n' if name.endswith("jsonl") else "{},{}\n"
        head = "" if name.endswith("jsonl") else "text,label\n"
        path.write_text(head + row.format("a", 1) + row.format(text, 0))
    message = f"{path}: row 2: the text has 1,001 characters, more than data.max_characters=1000; "
    assert complaint(lambda: rows_of(path, max_characters=1000)) == f"{message}cut it, or write a larger setting"
    assert rows_of(path, max_characters=1001) == [Row("a", 1), Row(text, 0)]


def test_a_row_of_csv_is_bounded_over_all_its_lines(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text('text,label\n"b",0\n"' + "a\n" * 300 + '",1\n')
    message = f"{path}: row 2 is longer than 400 characters; close its quotes, or write a larger data.max_characters"
    assert complaint(lambda: rows_of(path, max_characters=100)) == message
    assert [row.label for row in rows_of(path, max_characters=1000)] == [0, 1]


def test_a_page_may_hold_so_much_and_no_more(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    texts = ["x" * 96] * 16  # with its length, a text takes 100 bytes
    table = pa.table({"text": texts, "label": [0, 1] * 8})
    pq.write_table(table, path, use_dictionary=False, compression="none", column_encoding={"text": "PLAIN"})
    columns = "text", "label"
    # 1,600 bytes, and six of the levels that say that no text is null
    assert len(list(tables.read_table(path, columns, max_characters=101))) == 16
    message = complaint(lambda: list(tables.read_table(path, columns, max_characters=100)))
    assert message.startswith(f"{path}: a page has 1,606 bytes, more than 16 texts of data.max_characters=100; write ")


@pytest.mark.parametrize("codec", ["none", "snappy", "gzip", "brotli", "zstd", "lz4"])
@pytest.mark.parametrize(
    "options", [{}, {"data_page_version": "2.0"}, {"use_dictionary": False}, {"data_page_size": 9}]
)
def test_whatever_pyarrow_writes_is_read(tmp_path: Path, codec: str, options: dict[str, Any]) -> None:
    rows = [Row(f"{number} é", number % 3) for number in range(3000)]
    table = pa.table({"id": range(3000), "text": [row.text for row in rows], "label": [row.label for row in rows]})
    pq.write_table(table, tmp_path / "t.parquet", compression=codec, row_group_size=1100, **options)
    assert rows_of(tmp_path / "t.parquet") == rows


def test_a_column_with_dots_in_its_name_is_one_column(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"a.b": ["x"], "label": [1]}), path)
    assert rows_of(path, text_column="a.b") == [Row("x", 1)]
    pq.write_table(pa.table({"a.b": ["x"], "a": [{"b": "y"}], "label": [1]}), path)
    assert "the column 'a.b' is of type string; write" in complaint(lambda: rows_of(path, text_column="a.b"))


@pytest.mark.parametrize(("encoding", "name"), [(6, "DELTA_LENGTH_BYTE_ARRAY"), (7, "DELTA_BYTE_ARRAY")])
def test_delta_encodings_of_text_are_refused(tmp_path: Path, encoding: int, name: str) -> None:
    path = tmp_path / "t.parquet"
    table = pa.table({"text": ["a", "b"], "label": [1, 0]})
    pq.write_table(table, path, use_dictionary=False, column_encoding={"text": name})
    assert complaint(lambda: rows_of(path)).endswith("; write the file with the encoding PLAIN")
    pq.write_table(table, path, use_dictionary=False, column_encoding={"label": "DELTA_BINARY_PACKED"})
    assert len(rows_of(path)) == 2


# Thrift.


def test_a_structure_gives_numbers_and_counts() -> None:
    content = parquet.structure(
        {
            1: (parquet.I32, -7),
            2: (parquet.I64, 2**40),
            4: (parquet.BINARY, b"abc"),
            19: (parquet.LIST, parquet.entries(parquet.I32, [parquet.zigzag(n) for n in range(20)])),
            20: (parquet.STRUCT, parquet.structure({1: (parquet.I32, 5)})),
            21: (parquet.LIST, parquet.entries(parquet.STRUCT, [parquet.structure({2: (parquet.I32, 6)})] * 3)),
        }
    )
    read = {1: -7, 2: 2**40, 4: 3, 19: 20, 20: {1: 5}, 21: [{2: 6}] * 3}
    assert Thrift(io.BytesIO(content), 25).structure() == read  # 20 entries and 5 structures
    with pytest.raises(OverflowError):
        Thrift(io.BytesIO(content), 24).structure()
    for length in range(len(content)):
        with pytest.raises(ValueError, match=r"cut off|damaged"):
            Thrift(io.BytesIO(content[:length]), 25).structure()


@pytest.mark.parametrize(
    "content",
    [
        parquet.structure({1: (parquet.I32, 1)})[:-1] + b"\x05\x02\x02\x00",  # field 1 again
        b"\x1c" * 40,  # a structure in a structure in …
        b"\x15" + b"\xff" * 11,
        b"\x1e\x00\x00",
    ],
)
def test_structures_that_readers_may_take_for_different_ones(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"twice|deep|damaged"):
        Thrift(io.BytesIO(content), 99).structure()


# The whole.


def test_the_memory_of_words_labels_and_rows_is_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unroll.text.tokenized.CHUNK", 20_000)
    monkeypatch.setattr("unroll.text.workers.HERE", 1000)
    long = [("a b c " * 20_000, number % 2) for number in range(20)]  # their tokens, of 1.2 MB, are on disk
    assert len(tokenize(long, "basic_english", "t.csv", max_memory_mib=1)) == 20
    words = [(" ".join(f"w{number}" for number in range(start, start + 100)), 0) for start in range(0, 20_000, 100)]
    labels = [("a", f"label {number}") for number in range(20_000)]
    for rows, last in ((words, r"\d\d"), (labels, r"[56],\d{3}"), ([("a", 0)] * 40_000, r"32,\d{3}")):
        message = rf"^t\.csv: its words, labels and rows need more than 1 MiB of memory, by row {last}; cut the .*mib$"
        with pytest.raises(DataError, match=message):
            tokenize(rows, "basic_english", "t.csv", max_memory_mib=1)
        assert len(tokenize(rows, "basic_english", "t.csv", max_memory_mib=5)) == len(rows)


# Files that are none.


def test_pipes_and_devices(tmp_path: Path) -> None:
    for path in (Path("/dev/zero"), tmp_path / "pipe.csv"):
        if path.name == "pipe.csv":
            os.mkfifo(path)
        message = f"{path}: a pipe or a device can't be read twice; write what it gives into a file"
        assert complaint(TextFile((path,)).sha256) == message
    zeros = tmp_path / "zeros.csv"
    zeros.symlink_to("/dev/zero")
    assert "is longer than 4,000 characters; cut it" in complaint(lambda: rows_of(zeros, max_characters=1000))
    assert "is longer than 1,000 characters; cut it" in complaint(
        lambda: list(read_texts(Path("/dev/zero"), max_characters=1000))
    )
    reading, writing = os.pipe()
    os.write(writing, b"one\ntwo\n")
    os.close(writing)
    assert list(read_texts(Path(f"/dev/fd/{reading}"))) == ["one", "two"]
    piped = tmp_path / "piped.parquet"
    piped.symlink_to(f"/dev/fd/{reading}")
    message = f"{piped}: parquet can't be read from a pipe; write it into a file"
    assert complaint(lambda: list(read_texts(piped))) == message
    os.close(reading)


# How far it is.


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.jsonl", "t.parquet", "t.txt"])
def test_reading_shows_its_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    updates: list[float] = []
    totals: list[float | None] = []

    def note(task: progress.Task, completed: float, *_: Any) -> None:
        updates.append(completed)
        totals.append(task.total)

    monkeypatch.setattr(progress.Task, "update", note)
    path = tmp_path / name
    texts = [os.urandom(40).hex() for _ in range(1000)]
    if name == "t.parquet":
        pq.write_table(pa.table({"text": texts}), path)
    elif name == "t.jsonl":
        path.write_text("".join(f'{{"text": "{text}"}}\n' for text in texts))
    else:
        content = "text\n" + "\n".join(texts)
        path.write_bytes(gzip.compress(content.encode()) if name.endswith("gz") else content.encode())
    assert list(read_texts(path))[-1000:] == texts
    assert len(updates) >= 10
    assert updates == sorted(updates)
    assert set(totals) == {1000 if name == "t.parquet" else path.stat().st_size}
    assert totals[0] is not None
    assert 0.8 < updates[-1] / totals[0] <= 1


def test_tokenising_is_said_once(tmp_path: Path) -> None:
    path = tmp_path / "reviews.csv"
    path.write_text("text,label\n" + "a,1\n" * 200)
    config = ClassificationDataConfig(path=str(path), folder=str(tmp_path / "data"))
    screen = io.StringIO()
    with progress.display(Console(file=screen, width=200)):
        for _ in range(2):
            assert len(load_tokens(TextFile((path,)), config)) == 200
    cache = tmp_path / "data" / "cache"
    assert screen.getvalue() == f"tokenising {path}; the tokens are kept in {cache}\n"


def test_names_of_classes_in_the_settings() -> None:
    for labels in (["a", "a"], ["a", " "]):
        with pytest.raises(ConfigError, match="two names are equal or one is blank; give"):
            ClassificationDataConfig(labels=labels)
    assert ClassificationDataConfig(labels=["a", "b"]).labels == ["a", "b"]


def test_a_reader_says_what_it_reads(tmp_path: Path) -> None:
    path = tmp_path / "reviews.csv"
    path.write_text("text\n" + "a\n" * 200)
    screen = io.StringIO()
    with progress.display(Console(file=screen, width=100)) as display:
        display.seconds_between_lines = 0
        assert len(list(read_texts(path))) == 200
    assert screen.getvalue().startswith("reading reviews.csv  ")
