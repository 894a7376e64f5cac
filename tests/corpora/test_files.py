"""Rows and texts come out of every kind of file exactly as they went in, and each bad file gets one useful line."""

import csv
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unroll.corpora.files import Row, TextFile, read_rows, read_texts
from unroll.errors import DataError

AWKWARD = [
    Row("NA", 0),
    Row("null", 1),
    Row("None", 0),
    Row("1.50", 1),
    Row("", 0),
    Row("  \t", 1),
    Row("2011-01-01", 0),
    Row("a\x00b", 1),
    Row('😀 <br /> "quoted", it\'s', 0),
    Row("one\ntwo\r\nthree\rfour\u2028five", 1),
    Row("long " * 50_000, 0),  # beyond the csv module's default limit for a field
]
KINDS = ["parquet", "csv", "jsonl", "json"]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Write `rows` in the form that `path`'s name asks for, with other tools than the code under test."""
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".csv":
        with path.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(stream, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def rows_of(path: Path, where: tuple[str, str] | None = None) -> list[Row]:
    return list(read_rows(TextFile((path,), where=where)))


def complaint(path: Path, where: tuple[str, str] | None = None) -> str:
    """The message of the DataError that reading `path` raises: one line, which names the file and a remedy."""
    with pytest.raises(DataError) as caught:
        rows_of(path, where)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(path))
    assert "; " in message, "no remedy"
    return message.removeprefix(str(path))


# What goes in comes out.


@pytest.mark.parametrize("kind", KINDS)
def test_awkward_texts_come_back_unchanged(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path / f"t.{kind}", [{"id": 7, **row._asdict()} for row in AWKWARD])
    assert rows_of(path) == AWKWARD
    assert list(read_texts(path)) == [row.text for row in AWKWARD]


TEXTS = st.text(alphabet=st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from('\0\n\r",;😀 ')))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.builds(Row, TEXTS, st.integers(0, 10**17)), min_size=1, max_size=5))
def test_csv_gives_back_what_pythons_csv_module_wrote(tmp_path: Path, rows: list[Row]) -> None:
    assert rows_of(write(tmp_path / "t.csv", [row._asdict() for row in rows])) == rows


@pytest.mark.parametrize("name", ["we[i]rd*.csv", "a::b.parquet", "UPPER.CSV", "sp ace.jsonl"])
def test_names_of_files_are_no_patterns(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if path.suffix == ".parquet":
        path.write_bytes(write(tmp_path / "plain.parquet", [{"text": "a", "label": 1}]).read_bytes())
    else:
        path.write_bytes(write(tmp_path / f"plain{path.suffix.lower()}", [{"text": "a", "label": 1}]).read_bytes())
    assert rows_of(path) == [Row("a", 1)]


def test_csv_labels_of_digits_are_integers_and_others_names(tmp_path: Path) -> None:
    path = written(tmp_path / "t.csv", "label,text\n1,a\n 07 ,b\npos,c\n1.0,d\n\u0663,e\n")
    assert [row.label for row in rows_of(path)] == [1, 7, "pos", "1.0", "\u0663"]


def test_csv_from_windows_with_byte_order_mark_and_blank_lines(tmp_path: Path) -> None:
    path = written(tmp_path / "t.csv", "\ufefftext,label\r\na,1\r\n\r\nb,0\r\n")
    assert rows_of(path) == [Row("a", 1), Row("b", 0)]


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_typed_labels_stay_as_they_are(tmp_path: Path, kind: str) -> None:
    names = write(tmp_path / f"names.{kind}", [{"text": "a", "label": "1"}, {"text": "b", "label": " pos"}])
    assert [row.label for row in rows_of(names)] == ["1", " pos"]
    floats = write(tmp_path / f"floats.{kind}", [{"text": "a", "label": 1.0}, {"text": "b", "label": 0.0}])
    labels = [row.label for row in rows_of(floats)]
    assert labels == [1, 0]
    assert all(type(label) is int for label in labels)


def test_parquet_types_that_hold_strings(tmp_path: Path) -> None:
    table = pa.table(
        {
            "text": pa.array(["a", "b"], pa.large_string()),
            "label": pa.array(["x", "y"]).dictionary_encode(),
        }
    )
    pq.write_table(table, tmp_path / "t.parquet")
    assert rows_of(tmp_path / "t.parquet") == [Row("a", "x"), Row("b", "y")]


def test_parquet_in_several_row_groups_keeps_its_order(tmp_path: Path) -> None:
    rows = [Row(str(i), i % 3) for i in range(2500)]
    pq.write_table(pa.Table.from_pylist([r._asdict() for r in rows]), tmp_path / "t.parquet", row_group_size=700)
    assert rows_of(tmp_path / "t.parquet") == rows


@pytest.mark.parametrize("kind", KINDS)
def test_where_keeps_the_matching_rows_and_checks_no_other(tmp_path: Path, kind: str) -> None:
    path = write(
        tmp_path / f"t.{kind}",
        [
            {"text": "a", "label": 1, "source": "imdb"},
            {"text": "b", "label": -1, "source": "web"},
            {"text": "c", "label": 0, "source": "imdb"},
        ],
    )
    assert rows_of(path, ("source", "imdb")) == [Row("a", 1), Row("c", 0)]
    assert "no rows whose 'source' is 'news'" in complaint(path, ("source", "news"))
    assert "no column 'origin'" in complaint(path, ("origin", "imdb"))
    assert "row 2" in complaint(path, ("source", "web")), "rows count from the file's first"


def test_sha256_is_that_of_the_bytes_and_depends_on_where(tmp_path: Path) -> None:
    path = written(tmp_path / "t.csv", "text,label\na,1\n")
    assert TextFile((path,)).sha256() == hashlib.sha256(path.read_bytes()).hexdigest()
    digests = {
        TextFile((path,), where=where).sha256() for where in [None, ("text", "a"), ("text", "b"), ("label", "a")]
    }
    assert len(digests) == 4
    with pytest.raises(DataError, match=r"gone\.csv: no such file"):
        TextFile((tmp_path / "gone.csv",)).sha256()


# Plain texts.


def test_lines_of_any_other_file_are_texts(tmp_path: Path) -> None:
    path = written(tmp_path / "t.txt", "\ufeffone\r\n\ntw\ro\x00 \n  😀".encode() + b"\xff\n" + b"last")
    assert list(read_texts(path)) == ["one", "", "tw\ro\x00 ", "  😀\ufffd", "last"]


def test_texts_need_no_label(tmp_path: Path) -> None:
    assert list(read_texts(written(tmp_path / "t.csv", 'text,id\n"a,b",1\nNA,2\n'))) == ["a,b", "NA"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.txt", b"", "the file is empty"),
        ("t.csv", b"text\n", "no rows"),
        ("t.csv", b"text,id\na,1\n\xffb,2\n", "line 3 is not UTF-8"),
        ("t.csv", b"review,id\na,1\n", "no column 'text' among 'review', 'id'"),
        ("t.jsonl", b'{"text": "a"}\n{"text": null}\n', "row 2: the text is null"),
    ],
)
def test_texts_that_cannot_be_read(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=re.escape(message)):
        list(read_texts(written(tmp_path / name, content)))


def test_missing_text_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="gone: no such file"):
        list(read_texts(tmp_path / "gone"))


# Bad input: file, place and remedy.

MALFORMED = {
    "empty": ("t.csv", b"", "the file is empty; write it again"),
    "only a byte order mark": ("t.csv", b"\xef\xbb\xbf", "no column 'text' among none; write a header line"),
    "header only": ("t.csv", b"text,label\n", "no rows; add"),
    "blank JSON": ("t.jsonl", b"\n\n", "no rows; add"),
    "no label": (
        "t.csv",
        b"text,stars\na,1\n",
        "no column 'label' among 'text', 'stars'; write data.label_column=stars",
    ),
    "no text": (
        "t.csv",
        b"review,label\na,1\n",
        "no column 'text' among 'review', 'label'; write data.text_column=review",
    ),
    "two texts": ("t.csv", b"text,text,label\na,b,1\n", "more than one column 'text'"),
    "no label in one object": (
        "t.jsonl",
        b'{"text": "a", "label": 1}\n\n{"text": "b", "y": 0}\n',
        "line 3: no column 'label' among 'text', 'y'; give every line the columns of the first",
    ),
    "unknown kind": (
        "t.xlsx",
        b"x",
        "unknown kind of table '.xlsx'; use one of .parquet, .csv, .tsv, .jsonl, .json, .csv.gz",
    ),
    "blank csv label": ("t.csv", b"text,label\na,1\nb, \n", "row 2: the label is blank; give"),
    "null label": ("t.jsonl", b'{"text": "a", "label": null}\n', "row 1: the label is null; give"),
    "negative label": ("t.csv", b"text,label\na,1\nb,-1\n", "row 2: the label is -1, and -1 marks unlabelled rows"),
    "fraction": ("t.jsonl", b'{"text": "a", "label": 0.5}\n', "row 1: the label 0.5 is of type float; use"),
    "not a number": ("t.jsonl", b'{"text": "a", "label": NaN}\n', "row 1: the label nan is of type float; use"),
    "null text": ("t.jsonl", b'{"text": null, "label": 1}\n', "row 1: the text is null; delete"),
    "number for a text": ("t.jsonl", b'{"text": 5, "label": 1}\n', "row 1: the text is of type int; write"),
    "half a character": ("t.jsonl", b'{"text": "\\ud83d", "label": 1}\n', "row 1: the text holds half a surrogate"),
    "csv not UTF-8": ("t.csv", b'text,label\n"a\nb",1\n"c\xe9",1\n', "line 4 is not UTF-8; save"),
    "JSON not UTF-8": ("t.jsonl", b'{"text": "a", "label": 1}\n\xff', "line 2 is not UTF-8; save"),
    "UTF-16": ("t.csv", "text,label\na,1\n".encode("utf-16"), "line 1 is not UTF-8; save"),
    "too many fields": ("t.csv", b"text,label\na,1\nb, c,1\n", "row 2 (ends in line 3) has 3 fields, the header has 2"),
    "every row too long": ("t.csv", b"text,label\nx,a,1\ny,b,1\n", "row 1 (ends in line 2) has 3 fields"),
    "too few fields": ("t.csv", b"text,label\na\n", "row 1 (ends in line 2) has 1 fields, the header has 2"),
    "open quote": ("t.csv", b'text,label\na,1\n"b,1\nc,0\n', "row 2 is malformed csv (unexpected end of data"),
    "open quote in the header": ("t.csv", b'text,"label\na,1\n', "the header is malformed csv"),
    "stray quote": ("t.csv", b'text,label\n"a" b,1\n', "row 1 is malformed csv"),
    "JSON cut short": ("t.jsonl", b'{"text": "a", "label": 1}\n{"text": "b", ', "line 2 is malformed JSON; write one"),
    "JSON array": ("t.json", b'[{"text": "a", "label": 1}]', "line 1 is not a JSON object; write one object a line"),
    "JSON too deep": ("t.jsonl", b"[" * 100_000, "line 1 is malformed JSON"),
    "parquet that is none": ("t.parquet", b"text,label\na,1\n", "damaged parquet, in or after row 1; fetch"),
}


@pytest.mark.parametrize(("name", "content", "message"), MALFORMED.values(), ids=MALFORMED)
def test_malformed_files(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    assert message in complaint(written(tmp_path / name, content))


def test_missing_file_and_folder(tmp_path: Path) -> None:
    assert "no such file" in complaint(tmp_path / "gone.csv")
    (tmp_path / "folder.csv").mkdir()
    assert "is a folder" in complaint(tmp_path / "folder.csv")


@pytest.mark.parametrize(
    ("text", "label", "message"),
    [
        (["a", None], [0, 1], "row 2: the text is null"),
        (["a", "b"], [0, None], "row 2: the label is null"),
        (["a", "b"], [1, -1], "row 2: the label is -1"),
        (["a", "b"], ["x", " "], "row 2: the label is blank"),
        ([1, 2], [0, 1], "row 1: the text is of type int"),
        ([b"a", b"b"], [0, 1], "the column 'text' is of type binary; write strings or numbers"),
        ([["a"], ["b"]], [0, 1], "the column 'text' is of type list<element: string>; write strings or numbers"),
        (["a", "b"], [{"of": 1}, {"of": 2}], "the column 'label' is of type struct<of: int64>; write"),
        (["a", "b"], pa.array([0, 1], pa.timestamp("us")), "the column 'label' is of type timestamp[us]; write"),
        (["a", "b"], ["x" * 1001, "y"], "row 1: the label is longer than 1000 characters; check data.label_column"),
        (pa.array([], pa.string()), pa.array([], pa.int64()), "no rows"),
        (pa.array([b"a", b"\xff"], pa.binary()).view(pa.string()), [0, 1], "row 2 is not UTF-8"),
    ],
)
def test_bad_values_in_parquet(tmp_path: Path, text: Any, label: Any, message: str) -> None:
    pq.write_table(pa.table({"text": text, "label": label}), tmp_path / "t.parquet")
    assert message in complaint(tmp_path / "t.parquet")


def test_parquet_without_its_columns(tmp_path: Path) -> None:
    pq.write_table(pa.table({"review": ["a"], "label": [1]}), tmp_path / "t.parquet")
    assert "no column 'text' among 'review', 'label'" in complaint(tmp_path / "t.parquet")


def test_truncated_parquet(tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", [row._asdict() for row in AWKWARD])
    whole = path.read_bytes()
    for length in (4, len(whole) // 2, len(whole) - 1):
        assert "damaged parquet" in complaint(written(path, whole[:length]))


def test_damage_inside_parquet_is_named_after_the_rows_before_it(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    table = pa.table({"text": [f"review number {i}" for i in range(2000)], "label": [0] * 2000})
    pq.write_table(table, path, row_group_size=1000, compression="none", use_dictionary=False, write_page_checksum=True)
    path.write_bytes(path.read_bytes().replace(b"review number 1500", b"review number 1501", 1))
    rows = read_rows(TextFile((path,)))
    assert [next(rows).text for _ in range(1000)][-1] == "review number 999"
    assert "damaged parquet, in or after row 1001" in complaint(path)


@pytest.mark.parametrize("row", ['{"text": "\\ud83d", "label": 1}', '{"text": "a", "label": "\\ud83d"}'])
def test_half_a_surrogate_pair_is_named_in_texts_and_labels(tmp_path: Path, row: str) -> None:
    path = tmp_path / "half.jsonl"
    path.write_text(row + "\n")
    with pytest.raises(DataError, match=r"half\.jsonl: row 1: the (text|label) holds half a surrogate pair"):
        list(read_rows(TextFile((path,))))
