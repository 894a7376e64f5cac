"""Any labelled set of the hub is fetched once and read as data; a hub out of reach costs seconds."""

import socket
import subprocess
import sys
import threading
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.corpora.hub import Hub
from tests.corpora.sets import CARD, SETS, SHARDS, TEST, TRAIN, fetched, files_below, get, refused, table
from unroll import progress
from unroll.corpora import hub as hub_module
from unroll.corpora.files import Row, read_rows
from unroll.errors import ConfigError, DataError

# What is fetched.


def test_a_set_in_shards_is_fetched_once(tmp_path: Path, hub: Hub) -> None:
    name, data = f"me/reviews@{hub.commit('me/reviews')}", tmp_path / "data"
    screen = StringIO()
    for source in ("hub", "auto", "hub"):
        with progress.display(Console(file=screen)):
            corpus = get(data, name, source)
        assert (corpus.source, corpus.origin) == ("hub", f"me/reviews@{hub.commit('me/reviews')[:12]}")
        assert corpus.label_names == ("bad", "good")
        assert corpus.test is not None
        assert (list(read_rows(corpus.train)), list(read_rows(corpus.test))) == (TRAIN, TEST)
        assert corpus.notes == ("only the splits train and test of me/reviews are used, not unsupervised",)
    folder = data / "hub" / "me--reviews" / hub.commit("me/reviews")[:12]
    names = ["set.json", "test-00000.parquet", "train-00000.parquet", "train-00001.parquet"]
    assert files_below(data) == [folder / name for name in names]
    assert fetched(hub) == [path for path in sorted(SHARDS) if "unsupervised" not in path]
    assert len(hub.requests) < 30, "once"
    assert screen.getvalue() == "fetching me/reviews from the Hugging Face hub\n", "once"
    assert {token for _, token in hub.requests} == {None}


def test_unlabelled_texts_are_fetched_where_they_are_asked_for(tmp_path: Path, hub: Hub) -> None:
    name = f"me/reviews@{hub.commit('me/reviews')}"
    assert get(tmp_path, name).unlabelled is None
    corpus = get(tmp_path, name, unlabelled=True)
    assert corpus.unlabelled is not None
    assert list(read_rows(corpus.unlabelled)) == [Row("no label", -1)]
    assert list(read_rows(corpus.train)) == TRAIN
    assert corpus.notes == ()
    requests = len(hub.requests)
    assert get(tmp_path, name, unlabelled=True) == corpus
    assert get(tmp_path, name).unlabelled is None
    assert len(hub.requests) == requests, "once"
    with pytest.raises(
        DataError, match=r"data\.hub=me/plain: the set has no split unlabelled or unsupervised; put train"
    ):
        get(tmp_path, "me/plain", unlabelled=True)


def test_a_set_without_card_or_class_names(tmp_path: Path, hub: Hub) -> None:
    corpus = get(tmp_path, "me/plain", text_column="review", label_column="stars")
    assert list(read_rows(corpus.train)) == [Row("a", 1), Row("b", 2)]
    assert (corpus.test, corpus.label_names) == (None, None)
    assert corpus.notes == ("only the splits train and test of me/plain are used, not validation",)
    with pytest.raises(DataError, match=r"write data\.text_column=review data\.label_column=stars"):
        list(read_rows(get(tmp_path, "me/plain").train))


def test_class_names_of_the_card(tmp_path: Path, hub: Hub) -> None:
    assert get(tmp_path, "me/card").label_names == ("bad", "good")
    assert get(tmp_path, "me/card", labels=("minus", "plus")).label_names == ("minus", "plus")
    assert get(tmp_path, "me/card", label_column="text").label_names is None


def test_a_test_split_without_labels_is_left_aside(tmp_path: Path, hub: Hub) -> None:
    corpus = get(tmp_path, "me/secret")
    assert corpus.test is None
    assert corpus.notes == ("the split test of me/secret has no labels; a test set is held out of train",)


def test_no_revision_is_the_commit_that_it_is_today(tmp_path: Path, hub: Hub) -> None:
    first = get(tmp_path, "me/card")
    assert first.origin == f"me/card@{hub.commit('me/card')[:12]}"
    assert get(tmp_path, "me/card@main") == first
    assert get(tmp_path, first.origin) == first
    assert fetched(hub) == ["train.jsonl"]
    hub.sets["me/card"]["train.jsonl"] = b'{"text": "b", "label": 0}\n'
    second = get(tmp_path, "me/card")
    assert second.origin == f"me/card@{hub.commit('me/card')[:12]}" != first.origin
    assert (list(read_rows(first.train)), list(read_rows(second.train))) == ([Row("a", 1)], [Row("b", 0)])


def test_several_configurations(tmp_path: Path, hub: Hub) -> None:
    message = refused(tmp_path, "me/two", ConfigError)
    assert message == (
        "data.hub=me/two: the set has several configurations, big, small; write data.hub=me/two/big or another of them"
    )
    assert "no configuration 'huge' among big, small; write" in refused(tmp_path, "me/two/huge", ConfigError)
    big, small = get(tmp_path, "me/two/big"), get(tmp_path, "me/two/small")
    assert (list(read_rows(big.train)), list(read_rows(small.train))) == ([Row("a", 1)], [Row("b", 0)])
    assert small.origin == f"me/two/small@{hub.commit('me/two')[:12]}"
    assert {corpus.train.paths[0].parent.name for corpus in (big, small)} == {"big", "small"}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("me/gone", "RepositoryNotFoundError: 404 Client Error"),
        ("me/card@v2", "RevisionNotFoundError: 404 Client Error"),
        ("me/script", "RuntimeError: Dataset scripts are no longer supported"),
        ("me/nothing", "EmptyDatasetError: "),
        ("me/tests", "it has no split train, but test"),
        ("me/elsewhere", "ValueError: Data files don't belong to me/elsewhere"),
        ("me/pictures", "its file train/a.png is no table of the kinds .parquet, .csv"),
    ],
)
def test_what_is_no_table_on_the_hub(tmp_path: Path, hub: Hub, name: str, reason: str) -> None:
    message = refused(tmp_path, name)
    repo = name.partition("@")[0]
    assert message.startswith(f"{repo} can't be fetched from the hub ({reason}")
    assert message.endswith(f"; put train.parquet and test.parquet into {tmp_path / repo.partition('/')[2]}")
    assert not fetched(hub) or name == "me/script"


def test_a_card_can_not_name_files_on_this_machine(tmp_path: Path, hub: Hub) -> None:
    (tmp_path / "mine.parquet").write_bytes(table(TRAIN))
    card = CARD.replace(b"plain/train-*", str(tmp_path / "*.parquet").encode())
    hub.sets["me/local"] = {"README.md": card, **SHARDS}
    assert "Data files don't belong to me/local" in refused(tmp_path / "data", "me/local")


# Out of reach.


def test_offline_the_hub_gives_up_at_once(tmp_path: Path, offline: list[str]) -> None:
    assert "Name or service not known" in refused(tmp_path, "me/reviews")
    assert offline == ["huggingface.co"], "one request, no retries"


def test_a_resolver_that_hangs_is_left_after_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, direct: None
) -> None:
    released = threading.Event()

    def hang(*_: Any, **__: Any) -> Any:
        released.wait(20)
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    assert hub_module.HUB_PATIENCE <= 3
    monkeypatch.setattr(hub_module, "HUB_PATIENCE", 0.5)
    try:
        assert "(TimeoutError);" in refused(tmp_path, "me/reviews")
        assert get(tmp_path, "stanfordnlp/imdb", "auto").source == "embedded"
    finally:
        released.set()


def test_out_of_reach_the_copy_at_hand_is_named(tmp_path: Path, hub: Hub, request: pytest.FixtureRequest) -> None:
    commits = {name: hub.commit(name)[:12] for name in ("me/card", "me/two")}
    get(tmp_path, "me/card")
    get(tmp_path, "me/two/small")
    request.getfixturevalue("offline")
    assert f"; write data.hub=me/card@{commits['me/card']} for the copy that is here, or put" in refused(
        tmp_path, "me/card"
    )
    assert f"; write data.hub=me/two/small@{commits['me/two']} for" in refused(tmp_path, "me/two/small")
    assert "for the copy" not in refused(tmp_path, "me/two/big")
    assert get(tmp_path, f"me/card@{commits['me/card']}").source == "hub"


def test_a_pinned_set_at_hand_needs_neither_network_nor_datasets(tmp_path: Path, hub: Hub) -> None:
    name = f"me/reviews@{hub.commit('me/reviews')}"
    corpus = get(tmp_path, name)
    script = """
import os, socket, sys
from pathlib import Path
socket.socket.connect = socket.getaddrinfo = lambda *_, **__: os._exit(3)
from unroll.corpora.labelled import find_corpus
print(find_corpus(sys.argv[2], None, Path(sys.argv[1]), hub=sys.argv[3]).train.paths[0])
assert not {"datasets", "huggingface_hub", "torch"} & set(sys.modules)
"""
    for source in ("auto", "hub"):
        command = [sys.executable, "-c", script, str(tmp_path), source, name]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (result.returncode, result.stdout.strip()) == (0, str(corpus.train.paths[0])), result.stderr


def test_a_process_of_its_own_sends_no_token_and_runs_no_code(tmp_path: Path) -> None:
    script = """
import sys
from pathlib import Path
from unroll.corpora import hub
from unroll.corpora.labelled import find_corpus
hub.HUB_PATIENCE = 30
find_corpus("hub", None, Path(sys.argv[1]), hub="me/reviews")
"""
    with Hub(SETS) as hub:
        command = [sys.executable, "-c", script, str(tmp_path / "data")]
        environment = hub.environment(tmp_path / "home")
        result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert result.returncode == 0, result.stderr
    assert len(files_below(tmp_path / "data")) == 4
    assert fetched(hub) == [path for path in sorted(SHARDS) if "unsupervised" not in path]
    assert {token for _, token in hub.requests} == {None}
