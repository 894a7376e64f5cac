"""The tokenised corpus says what the tokenizer says, and its cache is exact or made anew."""

import dataclasses
import hashlib
import subprocess
import sys
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unroll.text.tokenized import TokenizedCorpus, cache_name, cached, tokenize
from unroll.text.tokenizers import get_tokenizer

ROWS: list[tuple[str, int | str]] = [("It's good, good!", 1), ("", 0), ("<br /> 😀 bad", 0), ("It's good, good!", 0)]
TEXTS = st.lists(st.text(st.sampled_from("ab.' ") | st.characters(), max_size=12), max_size=8)


def never() -> TokenizedCorpus:
    raise AssertionError("built, though there is a cache")


def words_of(corpus: TokenizedCorpus, document: int) -> list[str]:
    start, end = corpus.offsets[document : document + 2]
    return [corpus.types[token] for token in corpus.tokens[start:end]]


def assert_same(one: TokenizedCorpus, two: TokenizedCorpus) -> None:
    for field in dataclasses.fields(TokenizedCorpus):
        first, second = getattr(one, field.name), getattr(two, field.name)
        assert type(first) is type(second)
        if isinstance(first, np.ndarray):
            assert first.dtype == second.dtype
            np.testing.assert_array_equal(first, second)
        else:
            assert first == second


def fingerprint(rows: list[tuple[str, int | str]]) -> str:
    return tokenize(rows, "basic_english").fingerprint


# What a corpus holds.


def test_a_corpus_by_hand() -> None:
    corpus = tokenize(iter(ROWS), "basic_english")
    assert len(corpus) == 4
    assert corpus.types == ["it", "'", "s", "good", ",", "!", "😀", "bad"]
    assert corpus.tokens.tolist() == [0, 1, 2, 3, 4, 3, 5, 6, 7, 0, 1, 2, 3, 4, 3, 5]
    assert corpus.offsets.tolist() == [0, 7, 7, 9, 16]
    assert corpus.labels == [1, 0, 0, 0]
    dtypes = [array.dtype for array in (corpus.tokens, corpus.offsets, corpus.text_hashes)]
    assert dtypes == [np.int32, np.int64, np.uint64]


@given(TEXTS)
def test_each_document_is_what_the_tokenizer_makes_of_it(texts: list[str]) -> None:
    corpus = tokenize([(text, 0) for text in texts], "basic_english")
    split = get_tokenizer("basic_english")
    assert [words_of(corpus, i) for i in range(len(corpus))] == [list(split(text)) for text in texts]
    assert len(set(corpus.types)) == len(corpus.types)
    assert corpus.offsets[0] == 0
    assert corpus.offsets[-1] == len(corpus.tokens)


@given(TEXTS)
def test_equal_texts_and_no_others_have_equal_hashes(texts: list[str]) -> None:
    hashes = tokenize([(text, i) for i, text in enumerate(texts)], "basic_english").text_hashes.tolist()
    by_text = dict(zip(texts, hashes, strict=True))
    assert [by_text[text] for text in texts] == hashes
    assert len(set(hashes)) == len(set(texts))


def test_texts_with_the_same_tokens_have_different_hashes() -> None:
    hashes = tokenize([("Good", 1), ("good", 1), ("good ", 1)], "basic_english").text_hashes
    assert len(set(hashes.tolist())) == 3


@pytest.mark.parametrize(
    "rows",
    [
        [("a", 1), ("b", 0), ("c", 0)],
        [("a ", 1), ("b", 0)],
        [("A", 1), ("b", 0)],
        [("a", 1), ("b", 1)],
        [("a", "1"), ("b", "0")],
        [("b", 0), ("a", 1)],
        [("a", 0), ("b", 1)],
        [("ab", 1), ("", 0)],
        [("a", 10), ("b", 0)],
        [("a", 1)],
        [],
    ],
)
def test_the_fingerprint_changes_with_any_text_or_label(rows: list[tuple[str, int | str]]) -> None:
    assert fingerprint([("a", 1), ("b", 0)]) == fingerprint([("a", 1), ("b", 0)])
    assert fingerprint(rows) != fingerprint([("a", 1), ("b", 0)])


@pytest.mark.parametrize(
    ("labels", "kept"),
    [([0, 3], [0, 3]), (["good", "1"], ["good", "1"]), ([1, "good"], ["1", "good"]), (["é", 0, 1], ["é", "0", "1"])],
)
def test_labels_are_all_numbers_or_all_names(
    tmp_path: Path, labels: list[int | str], kept: list[int] | list[str]
) -> None:
    corpus = tokenize([("a", label) for label in labels], "basic_english")
    assert corpus.labels == kept
    assert [type(label) for label in corpus.labels] == [type(label) for label in kept]
    cached(tmp_path / "cache", lambda: corpus)
    assert_same(cached(tmp_path / "cache", never), corpus)


def test_an_unknown_tokenizer_is_an_error() -> None:
    with pytest.raises(ValueError, match="unknown tokenizer 'none'"):
        tokenize([], "none")


# The cache.


@pytest.mark.parametrize("rows", [ROWS, [], [("", 0)], [("", "x"), (" \t", "y")]])
def test_a_cache_gives_back_the_same_corpus_without_building(
    tmp_path: Path, rows: list[tuple[str, int | str]], capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = tokenize(rows, "basic_english")
    path = tmp_path / "deep" / "cache.arrow"
    assert_same(cached(path, lambda: corpus), corpus)
    for _ in range(2):
        assert_same(cached(path, never), corpus)
    assert [file.name for file in path.parent.iterdir()] == ["cache.arrow"]
    assert capsys.readouterr().err == ""


@given(TEXTS)
def test_any_corpus_survives_the_cache(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    path = tmp_path_factory.mktemp("cache") / "cache.arrow"
    corpus = tokenize([(text, len(text)) for text in texts], "basic_english")
    cached(path, lambda: corpus)
    assert_same(cached(path, never), corpus)


def test_the_name_follows_from_content_and_tokenizer() -> None:
    one, two = (hashlib.sha256(content).hexdigest() for content in (b"one", b"two"))
    names = [cache_name(one, "basic_english"), cache_name(two, "basic_english"), cache_name(one, "other")]
    assert len(set(names)) == 3
    assert cache_name(one, "basic_english") == names[0]
    assert all(Path(name).name == name and name.endswith(".arrow") for name in names)


@pytest.mark.parametrize("content", [b"", b"\x00" * 1000, b"PAR1", b"text,label\n"])
def test_something_else_in_its_place_is_replaced_with_a_message(
    tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "cache.arrow"
    path.write_bytes(content)
    corpus = tokenize(ROWS, "basic_english")
    assert_same(cached(path, lambda: corpus), corpus)
    message = capsys.readouterr().err
    assert message.startswith(f"The cache {path} is damaged (")
    assert message.endswith("); it is made anew.\n")
    assert message.count("\n") == 1
    assert_same(cached(path, never), corpus)


# In a process of its own, as Arrow may crash on the lengths in a damaged file that nothing checked before.
DAMAGE = """
import contextlib, dataclasses, io, os, sys
from pathlib import Path
import numpy as np
from unroll.text.tokenized import cached, tokenize

os.fsync = lambda _: None  # hundreds of them take seconds
path = Path(sys.argv[1])
corpus = tokenize([("a good film, good", 1), ("bad", 0), ("it's 😀 ok", 1)], "basic_english")
cached(path, lambda: corpus)
good = path.read_bytes()

def plain(corpus):
    values = [getattr(corpus, field.name) for field in dataclasses.fields(corpus)]
    return [(value.dtype, value.tolist()) if isinstance(value, np.ndarray) else value for value in values]

def noticed(content):
    path.unlink()  # not written over: Arrow may still have the old file in its memory
    path.write_bytes(content)
    builds, said = [], io.StringIO()
    with contextlib.redirect_stderr(said):
        result = cached(path, lambda: builds.append(1) or corpus)
    assert plain(result) == plain(corpus)
    assert bool(builds) == said.getvalue().endswith("it is made anew.\\n")
    return bool(builds)

for place in range(len(good)):
    print(place, flush=True)
    mask = (0x01, 0x80, 0xFF)[place % 3]
    noticed(good[:place] + bytes([good[place] ^ mask]) + good[place + 1:])
for length in range(0, len(good), 16):
    print("cut at", length, flush=True)
    assert noticed(good[:length]) or length >= len(good) - 8  # an Arrow stream's end mark may be missing
print("whole")
"""


def test_every_flipped_byte_and_every_cut_is_noticed_or_harmless(tmp_path: Path) -> None:
    command = [sys.executable, "-c", DAMAGE, str(tmp_path / "cache.arrow")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    last = result.stdout.splitlines()[-1:]
    assert (result.returncode, last) == (0, ["whole"]), result.stderr[-2000:]


@pytest.mark.parametrize("fault", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_write_that_fails_midway_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: BaseException
) -> None:
    def fail(file: BinaryIO, *_: object) -> None:
        file.write(b"half a stream")
        raise fault

    corpus = tokenize(ROWS, "basic_english")
    path = tmp_path / "cache.arrow"
    with monkeypatch.context() as patch:
        patch.setattr(pa.ipc, "new_stream", fail)
        with pytest.raises(type(fault)):
            cached(path, lambda: corpus)
    assert not list(tmp_path.iterdir())
    assert_same(cached(path, lambda: corpus), corpus)


def test_a_build_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="built, though"):
        cached(tmp_path / "cache.arrow", never)
    assert not list(tmp_path.iterdir())


def test_half_a_surrogate_pair_survives_the_cache(tmp_path: Path) -> None:
    corpus = tokenize([("\ud800 a", 0), ("a", 1)], "basic_english")
    cached(tmp_path / "cache", lambda: corpus)
    assert cached(tmp_path / "cache", lambda: pytest.fail("built again")).types == ["\ud800", "a"]
