"""Columns of any name, any delimiter, compression and encoding: one table in many forms gives the same rows."""

import csv
import gzip
import hashlib
import io
import json
import re
import tracemalloc
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from unroll.corpora import tables
from unroll.corpora.files import UNLABELLED, Row, TextFile, is_unlabelled, read_rows, read_texts
from unroll.errors import ConfigError, DataError

ROWS = [Row('a, b; c\td|e "quoted"', "good"), Row("naïve\nno é", "bad"), Row("", "good")]
RECORDS = [{"id": i, "review": row.text, "sentiment": row.label} for i, row in enumerate(ROWS)]
NAMED = {"text_column": "review", "label_column": "sentiment"}


def as_csv(records: list[dict[str, Any]], delimiter: str = ",") -> str:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, fieldnames=list(records[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(records)
    return stream.getvalue()


def as_json(records: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def written(path: Path, content: str | bytes, encoding: str = "utf-8") -> Path:
    content = content if isinstance(content, bytes) else content.encode(encoding)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def rows_of(path: Path, **options: Any) -> list[Row]:
    return list(read_rows(TextFile((path,), **options)))


def complaint(path: Path, kind: type[Exception] = DataError, **options: Any) -> str:
    with pytest.raises(kind) as error:
        rows_of(path, **options)
    assert "\n" not in str(error.value)
    return str(error.value).removeprefix(f"{path}: ")


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.csv.gz", "T.TSV.GZ".lower()])
def test_the_header_shows_the_delimiter(tmp_path: Path, name: str, delimiter: str) -> None:
    assert rows_of(written(tmp_path / name, as_csv(RECORDS, delimiter)), **NAMED) == ROWS


@pytest.mark.parametrize("name", ["t.jsonl", "t.json", "t.jsonl.gz", "t.json.gz"])
def test_json_lines(tmp_path: Path, name: str) -> None:
    assert rows_of(written(tmp_path / name, as_json(RECORDS)), **NAMED) == ROWS


def test_the_delimiter_is_the_one_that_finds_the_columns(tmp_path: Path) -> None:
    path = written(tmp_path / "t.csv", "a,b,c,d;text;label\n1,2,3;x,y;pos\n")
    assert rows_of(path) == [Row("x,y", "pos")]
    assert list(read_texts(path)) == ["x,y"]
    bars = written(tmp_path / "bars.csv", '"my, text"|"la;bel"\na|1\n')
    assert rows_of(bars, text_column="my, text", label_column="la;bel") == [Row("a", 1)]


def test_a_header_that_nothing_divides(tmp_path: Path) -> None:
    message = complaint(written(tmp_path / "t.csv", "text:label\na:1\n"))
    assert message.startswith("no column 'text' among 'text:label'; write a header line, with commas, semicolons, tabs")


@pytest.mark.parametrize(
    ("header", "missing"),
    [
        ("review,sentiment", "data.text_column=review data.label_column=sentiment"),
        ("Sentiment;Review", "data.text_column=Review data.label_column=Sentiment"),
        ("id\tText\tlabel", "data.text_column=Text"),
        ("text,x,stars", "data.label_column=stars"),
        ("a|b|c", "data.text_column=NAME data.label_column=NAME"),
        ("sentence,title,class", "data.text_column=sentence data.label_column=class"),
        ("text,text,label", "data.text_column=NAME"),
    ],
)
def test_a_missing_column_is_told_with_the_settings_to_write(tmp_path: Path, header: str, missing: str) -> None:
    assert complaint(written(tmp_path / "reviews.csv", f"{header}\n")).endswith(f"; write {missing}")


def test_kaggles_reviews(tmp_path: Path) -> None:
    path = written(tmp_path / "IMDB Dataset.csv", 'review,sentiment\n"Good, <br />very.",positive\nBad.,negative\n')
    message = "no column 'text' among 'review', 'sentiment'; write data.text_column=review data.label_column=sentiment"
    assert complaint(path) == message
    assert rows_of(path, **NAMED) == [Row("Good, <br />very.", "positive"), Row("Bad.", "negative")]
    assert list(read_texts(path, "review")) == ["Good, <br />very.", "Bad."]
    table = tmp_path / "t.parquet"
    pq.write_table(pa.table({"review": ["a"], "sentiment": ["b"]}), table)
    assert complaint(table) == message
    assert complaint(written(tmp_path / "t.jsonl", '{"review": "a", "sentiment": 1}\n')) == f"line 1: {message}"


# Booleans.


def test_booleans_are_alike_in_all_kinds(tmp_path: Path) -> None:
    values = [True, False, True]
    pq.write_table(pa.table({"text": ["a", "b", "c"], "label": values}), tmp_path / "t.parquet")
    written(tmp_path / "t.jsonl", as_json([{"text": t, "label": v} for t, v in zip("abc", values, strict=True)]))
    written(tmp_path / "t.csv", "text,label\na,True\nb, FALSE \nc,true\n")
    written(tmp_path / "t.tsv", "label\ttext\nTRUE\ta\nfalse\tb\nTrue\tc\n")
    expected = [Row("a", "true"), Row("b", "false"), Row("c", "true")]
    for kind in ("parquet", "jsonl", "csv", "tsv"):
        assert rows_of(tmp_path / f"t.{kind}") == expected, kind


# Encodings.


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16", "utf-16-le", "utf-32", "UTF8", "utf-8-sig"])
@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.tsv.gz"])
def test_encodings(tmp_path: Path, name: str, encoding: str) -> None:
    content = as_json(RECORDS) if "json" in name else as_csv(RECORDS)
    path = written(tmp_path / name, content, encoding)
    assert rows_of(path, encoding=encoding, **NAMED) == ROWS
    assert list(read_texts(path, "review", encoding)) == [row.text for row in ROWS]


def test_lines_of_another_encoding(tmp_path: Path) -> None:
    assert list(read_texts(written(tmp_path / "t.txt", "é\r\nï", "latin-1"), encoding="latin-1")) == ["é", "ï"]
    assert list(read_texts(written(tmp_path / "t.txt.gz", "é\nï\n"))) == ["é", "ï"]


@pytest.mark.parametrize("count", [0, 1, 5_000])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz"])
def test_bytes_that_are_no_text_are_named_with_line_and_remedy(tmp_path: Path, name: str, end: str, count: int) -> None:
    content = f"text,label{end}" + f"a{'x' * 13},1{end}" * count
    path = written(tmp_path / name, content.encode() + b"caf\xe9,1\n")
    remedy = "save the file as UTF-8, or write data.encoding=latin-1"
    assert complaint(path) == f"line {count + 2} is not UTF-8; {remedy}"
    assert complaint(path, encoding="ascii") == f"line {count + 2} is not ascii; {remedy}"
    assert rows_of(path, encoding="latin-1")[-1] == Row("café", 1)


def test_utf_16_is_known_by_its_mark(tmp_path: Path) -> None:
    path = written(tmp_path / "t.csv", "text,label\na,1\n", "utf-16")
    assert complaint(path).endswith("line 1 is not UTF-8; save the file as UTF-8, or write data.encoding=utf-16")


@pytest.mark.parametrize("encoding", ["klingon", "hex", "undefined", "", "a\0b"])
def test_an_unknown_encoding(tmp_path: Path, encoding: str) -> None:
    path = written(tmp_path / "t.csv", "text,label\na,1\n")
    assert complaint(path, ConfigError, encoding=encoding).startswith(f"data.encoding={encoding}: no such encoding; w")
    with pytest.raises(ConfigError, match="no such encoding"):
        TextFile((path,), encoding=encoding).sha256()


# Compression, and its bounds.


@pytest.mark.parametrize(
    "spoil", [lambda packed: packed[:-9], lambda packed: packed[:30] + b"\xff" * 20 + packed[50:], lambda packed: b"no"]
)
def test_damaged_gzip(tmp_path: Path, spoil: Any) -> None:
    path = tmp_path / "t.csv.gz"
    path.write_bytes(spoil(gzip.compress(as_csv([{"text": f"{i}", "label": i} for i in range(99)]).encode())))
    assert complaint(path) == "damaged gzip; fetch or write the file again"


@pytest.mark.parametrize("name", ["t.csv.gz", "t.jsonl.gz", "t.tsv.gz"])
def test_a_bomb_of_one_line_takes_no_memory(tmp_path: Path, name: str) -> None:
    start = b'{"text": "' if "json" in name else b"text,label\n"
    path = written(tmp_path / name, start + b"a" * 50_000_000)
    assert path.stat().st_size < 100_000
    tracemalloc.start()
    try:
        message = complaint(path, max_characters=2**14)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    remedy = r"cut it, or write a larger data\.max_characters"
    assert re.fullmatch(rf"line [12] is longer than 65,536 characters; {remedy}", message)
    assert peak < 5_000_000, "bytes"


def test_what_a_file_may_expand_to_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert tables.LARGEST_EXPANDED == 8 * 2**30
    content = "text,label\n" + "a,1\n" * 1000
    packed, plain = (written(tmp_path / name, content) for name in ("t.csv.gz", "t.csv"))
    monkeypatch.setattr(tables, "LARGEST_EXPANDED", len(content))
    assert len(rows_of(packed)) == 1000
    monkeypatch.setattr(tables, "LARGEST_EXPANDED", len(content) - 1)
    assert complaint(packed).startswith(f"expands to more than {len(content) - 1:,} characters; ")
    assert len(rows_of(plain)) == 1000


def test_gzip_is_read_in_constant_memory(tmp_path: Path) -> None:
    path = tmp_path / "t.csv.gz"
    with gzip.open(path, "wt") as stream:
        stream.write("text,label\n")
        stream.writelines(f"{'word ' * 200}{i},1\n" for i in range(20_000))
    tracemalloc.start()
    try:
        [last] = deque(read_rows(TextFile((path,))), maxlen=1)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert last.text.endswith(" 19999")
    assert peak < 3_000_000, "bytes, of 20 MB"


# Shards and fingerprints.


def test_shards_are_read_in_their_order(tmp_path: Path) -> None:
    first, second = written(tmp_path / "0.csv", "text,label\na,1\nb,0\n"), written(tmp_path / "1.jsonl", as_json([]))
    written(second, '{"label": 1, "text": "c"}\n')
    file = TextFile((first, second))
    assert list(read_rows(file)) == [Row("a", 1), Row("b", 0), Row("c", 1)]
    assert str(file) == f"{first} (and 1 more)"
    assert str(TextFile((first,))) == str(first)
    written(second, '{"label": null, "text": "c"}\n')
    with pytest.raises(DataError, match=re.escape(f"{second}: row 1: the label is null")):
        list(read_rows(file))
    written(first, "text,label\n")
    written(second, "\n")
    with pytest.raises(DataError, match=re.escape(f"{file}: no rows")):
        list(read_rows(file))


def test_the_fingerprint_follows_from_all_that_is_read(tmp_path: Path) -> None:
    path, other = written(tmp_path / "t.csv", "text,label\na,1\n"), written(tmp_path / "u.csv", "text,label\nb,1\n")

    def files() -> Iterator[TextFile]:
        yield TextFile((path,))
        yield TextFile((path,), text_column="label")
        yield TextFile((path,), label_column="text")
        yield TextFile((path,), encoding="latin-1")
        yield TextFile((path,), where=("text", "a"))
        yield TextFile((path,), has_labels=False)
        yield TextFile((path, other))
        yield TextFile((other, path))
        yield TextFile((other,))

    digests = [file.sha256() for file in files()]
    assert len(set(digests)) == len(digests)
    assert digests[0] == hashlib.sha256(path.read_bytes()).hexdigest(), "as it always was: caches of tokens live on"
    assert TextFile((path,), encoding="UTF8").sha256() == digests[0]
    assert TextFile((path,), encoding="iso-8859-1").sha256() == digests[3]


@pytest.mark.parametrize(("label", "expected"), [("-1", True), (" -1", True), ("0", False), ("neg", False)])
def test_a_split_without_labels_is_known_by_its_first_row(tmp_path: Path, label: str, expected: bool) -> None:
    assert is_unlabelled(TextFile((written(tmp_path / "t.csv", f"text,label\na,{label}\n"),))) is expected


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", "text\na\n"),
        ("t.csv", "id,text,label\n1,a,-1\n"),
        ("t.jsonl", '{"text": "a"}\n'),
        ("t.jsonl.gz", '{"text": "a", "label": null}\n'),
    ],
)
def test_texts_without_labels(tmp_path: Path, name: str, content: str) -> None:
    path = written(tmp_path / name, content)
    assert rows_of(path, has_labels=False) == [Row("a", UNLABELLED)]
    remedy = "no column 'review' among "
    assert remedy in complaint(path, has_labels=False, text_column="review", label_column="gone")
    assert "label_column" not in complaint(path, has_labels=False, text_column="review", label_column="gone")


def test_some_texts_without_labels(tmp_path: Path) -> None:
    path = written(tmp_path / "t.csv", "text,source\na,here\nb,there\n")
    assert rows_of(path, has_labels=False, where=("source", "there")) == [Row("b", UNLABELLED)]
