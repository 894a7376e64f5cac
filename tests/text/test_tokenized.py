"""The tokenised corpus says what the tokenizer says, and its cache is exact or made anew."""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unroll.text.tokenized import TokenizedCorpus, cache_name, cached, tokenize
from unroll.text.tokenizers import get_tokenizer

ROWS: list[tuple[str, int | str]] = [("It's good, good!", 1), ("", 0), ("<br /> 😀 bad", 0), ("It's good, good!", 0)]
TEXTS = st.lists(st.text(st.sampled_from("ab.' ") | st.characters(), max_size=12), max_size=8)


def never(file: BinaryIO) -> TokenizedCorpus:
    raise AssertionError("built, though there is a cache")


def building(rows: list[tuple[str, int | str]]) -> Callable[[BinaryIO], TokenizedCorpus]:
    return lambda file: tokenize(rows, "basic_english", file=file)


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
    assert corpus.tokens.tolist() == [0, 1, 2, 3, 4, 3, 5, 6, 7, 0, 1, 2, 3, 4, 3, 5, 8]
    assert corpus.offsets.tolist() == [0, 7, 7, 9, 16]
    assert (corpus.labels.tolist(), corpus.label_values) == ([0, 1, 1, 1], [1, 0])
    assert corpus.text_hashes.tolist() == [
        int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") for text, _ in ROWS
    ]
    arrays = (corpus.tokens, corpus.offsets, corpus.labels, corpus.text_hashes)
    assert [array.dtype for array in arrays] == [np.uint8, np.int64, np.int32, np.uint64]
    assert all(isinstance(array, np.memmap) for array in arrays)


def test_the_fingerprint_by_hand() -> None:
    """Checkpoints hold it: it must not change."""
    expected = hashlib.sha256()
    for text, label in [("It's", 1), ("é", "good"), ("", 0)]:
        expected.update(hashlib.sha256(text.encode()).digest() + json.dumps(label).encode() + b"\n")
    assert fingerprint([("It's", 1), ("é", "good"), ("", 0)]) == expected.hexdigest()


@pytest.mark.parametrize(
    ("types", "width"), [(255, np.uint8), (256, np.uint16), (65535, np.uint16), (65536, np.uint32)]
)
def test_tokens_are_as_narrow_as_the_types_allow(
    types: int, width: type[np.unsignedinteger[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unroll.text.mapped.AT_ONCE", 1000)
    words = [f"w{number}" for number in range(types)]
    corpus = tokenize([(" ".join(words), 0), ("", 1), (" ".join(reversed(words)), 1)], "whitespace")
    assert corpus.tokens.dtype == width
    assert corpus.types == words
    assert np.array_equal(corpus.tokens, [*range(types), *reversed(range(types)), types])
    assert corpus.offsets.tolist() == [0, types, types, 2 * types]


def test_blocks_hold_every_document_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unroll.text.tokenized.CHUNK", 10)
    lengths = [0, 3, 0, 7, 25, 1, 0, 0, 10, 2]
    monkeypatch.setattr("unroll.text.workers.HERE", 10)
    corpus = tokenize([("a " * length, 0) for length in lengths], "basic_english")
    blocks = [(block.start, block.stop) for block in corpus.blocks()]
    assert blocks == [(0, 4), (4, 5), (5, 8), (8, 9), (9, 10)]
    assert list(tokenize([], "basic_english").blocks()) == []


@given(TEXTS)
def test_each_document_is_what_the_tokenizer_makes_of_it(texts: list[str]) -> None:
    corpus = tokenize([(text, 0) for text in texts], "basic_english")
    split = get_tokenizer("basic_english")
    assert [words_of(corpus, i) for i in range(len(corpus))] == [list(split(text)) for text in texts]
    assert len(set(corpus.types)) == len(corpus.types)
    assert corpus.offsets[0] == 0
    assert corpus.offsets[-1] == len(corpus.tokens) - 1


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
    assert_labels(corpus, kept)
    cached(tmp_path / "cache", building([("a", label) for label in labels]))
    assert_same(cached(tmp_path / "cache", never), corpus)


def test_a_number_and_its_digits_are_one_name() -> None:
    corpus = tokenize([("a", label) for label in (1, "good", "1", 2)], "basic_english")
    assert_labels(corpus, ["1", "good", "1", "2"])
    assert corpus.label_values == ["1", "good", "2"]


def assert_labels(corpus: TokenizedCorpus, expected: Sequence[int | str]) -> None:
    found = [corpus.label_values[label] for label in corpus.labels]
    assert found == list(expected)
    assert [type(label) for label in found] == [type(label) for label in expected]


def test_an_unknown_tokenizer_is_an_error() -> None:
    with pytest.raises(ValueError, match="unknown tokenizer 'none'"):
        tokenize([], "none")


# The cache.


@pytest.mark.parametrize("rows", [ROWS, [], [("", 0)], [("", "x"), (" \t", "y")]])
def test_a_cache_gives_back_the_same_corpus_without_building(
    tmp_path: Path, rows: list[tuple[str, int | str]], capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = tokenize(rows, "basic_english")
    path = tmp_path / "deep" / "cache.bin"
    assert_same(cached(path, building(rows)), corpus)
    for _ in range(2):
        assert_same(cached(path, never), corpus)
    assert [file.name for file in path.parent.iterdir()] == ["cache.bin"]
    assert capsys.readouterr().err == ""


@given(TEXTS)
def test_any_corpus_survives_the_cache(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    path = tmp_path_factory.mktemp("cache") / "cache.bin"
    corpus = cached(path, building([(text, len(text)) for text in texts]))
    assert_same(cached(path, never), corpus)


def test_the_name_follows_from_content_and_tokenizer() -> None:
    one, two = (hashlib.sha256(content).hexdigest() for content in (b"one", b"two"))
    names = [cache_name(one, "basic_english"), cache_name(two, "basic_english"), cache_name(one, "other")]
    assert len(set(names)) == 3
    assert cache_name(one, "basic_english") == names[0]
    assert all(Path(name).name == name and name.endswith(".bin") for name in names)


@pytest.mark.parametrize("content", [b"", b"\x00" * 1000, b"PAR1", b"text,label\n"])
def test_something_else_in_its_place_is_replaced_with_a_message(
    tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "cache.bin"
    path.write_bytes(content)
    corpus = tokenize(ROWS, "basic_english")
    assert_same(cached(path, building(ROWS)), corpus)
    message = capsys.readouterr().err
    assert message.startswith(f"The cache {path} is damaged (")
    assert message.endswith("); it is made anew.\n")
    assert message.count("\n") == 1
    assert_same(cached(path, never), corpus)


def test_every_flipped_byte_and_every_cut_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", lambda _: None)  # hundreds of them take seconds
    path = tmp_path / "cache.bin"
    rows: list[tuple[str, int | str]] = [("a good film, good", 1), ("bad", 0), ("it's 😀 ok", 1)]
    corpus = tokenize(rows, "basic_english")
    cached(path, building(rows))
    good = path.read_bytes()
    flipped = (
        good[:place] + bytes([good[place] ^ (0x01, 0x80, 0xFF)[place % 3]]) + good[place + 1 :]
        for place in range(len(good))
    )
    cut = (good[:length] for length in range(0, len(good), 16))
    for content in [*flipped, *cut, good + b"\0", good * 2]:
        path.write_bytes(content)
        with redirect_stderr(StringIO()) as said:
            assert_same(cached(path, building(rows)), corpus)
        assert said.getvalue().endswith("it is made anew.\n")
    assert path.read_bytes() == good


@pytest.mark.parametrize("fault", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_write_that_fails_midway_leaves_nothing(
    tmp_path: Path, fault: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unroll.text.tokenized.CHUNK", 20_000)

    def fail() -> Iterator[tuple[str, int | str]]:
        yield from ROWS * 1000
        raise fault

    path = tmp_path / "cache.bin"
    with pytest.raises(type(fault)):
        cached(path, lambda file: tokenize(fail(), "basic_english", file=file))
    assert not list(tmp_path.iterdir())
    assert len(cached(path, building(ROWS))) == len(ROWS)


def test_half_a_surrogate_pair_survives_the_cache(tmp_path: Path) -> None:
    cached(tmp_path / "cache", building([("\ud800 a", 0), ("a", 1)]))
    assert cached(tmp_path / "cache", never).types == ["\ud800", "a"]


# All cores.


def test_processes_give_what_one_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[tuple[str, int | str]] = [(f"It's number {i}, {'é' * (i % 9)} w{i % 400}!", i % 5) for i in range(3000)]
    monkeypatch.setattr("unroll.text.tokenized.CHUNK", 5000)
    whole = tokenize(rows, "basic_english")
    monkeypatch.setattr("unroll.text.tokenized.CHUNK", 10**9)
    assert_same(whole, tokenize(rows, "basic_english"))
