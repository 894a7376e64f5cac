"""Ids follow frequency, nothing unseen gets one, and a vocabulary survives being written down."""

import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unroll.text.vocabulary import PAD, PAD_ID, UNKNOWN, UNKNOWN_ID, Vocabulary

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=5)  # lone surrogates, NUL and "" included
WORDS = st.lists(ANY_TEXT.filter(lambda word: word not in (PAD, UNKNOWN)), unique=True, max_size=12)
COUNTS = st.dictionaries(st.sampled_from([PAD, UNKNOWN, *"abcdefgAÉé😀", "ab", ""]), st.integers(1, 6))


def vocabulary_of(words: list[str]) -> Vocabulary:
    return Vocabulary([PAD, UNKNOWN, *words])


# The order of ids.


def test_ids_follow_frequency_then_code_point() -> None:
    counts = {"b": 2, "é": 2, "rare": 1, "a": 2, "Z": 2, "the": 9, "😀": 2, "\uffff": 2}
    assert Vocabulary.build(counts).tokens == (
        "<pad>", "<unk>", "the", "Z", "a", "b", "é", "\uffff", "😀", "rare",
    )  # fmt: skip
    assert (PAD_ID, UNKNOWN_ID) == (0, 1)


def test_min_freq_and_max_size() -> None:
    counts = {"a": 3, "c": 2, "b": 2, "d": 1}
    assert Vocabulary.build(counts, min_freq=2).tokens[2:] == ("a", "b", "c")
    assert Vocabulary.build(counts, max_size=2).tokens[2:] == ("a", "b")
    assert Vocabulary.build(counts, min_freq=3, max_size=2).tokens[2:] == ("a",)
    assert Vocabulary.build(counts, max_size=0).tokens[2:] == ()
    assert Vocabulary.build({}).tokens == ("<pad>", "<unk>")


@given(COUNTS, st.integers(1, 7), st.none() | st.integers(0, 12))
def test_build_against_a_plain_sort(counts: dict[str, int], min_freq: int, max_size: int | None) -> None:
    before = copy.deepcopy(counts)
    kept = [word for word, count in counts.items() if count >= min_freq and word not in ("<pad>", "<unk>")]
    kept.sort(key=lambda word: (-counts[word], [ord(character) for character in word]))
    assert Vocabulary.build(counts, min_freq, max_size).tokens == ("<pad>", "<unk>", *kept[:max_size])
    assert counts == before


# Encoding and decoding.


def test_encode_by_hand() -> None:
    vocabulary = vocabulary_of(["a", "b"])
    assert vocabulary.encode(["b", "never seen", "a", "", "A"]) == [3, 1, 2, 1, 1]
    assert vocabulary.encode(token for token in "ab") == [2, 3]
    assert vocabulary.encode([]) == []


def test_reserved_names_in_a_text_are_unknown_words() -> None:
    vocabulary = Vocabulary.build({"<pad>": 9, "<unk>": 8, "a": 1})
    assert vocabulary.tokens == ("<pad>", "<unk>", "a")
    assert vocabulary.encode(["<pad>", "<unk>", "a"]) == [1, 1, 2]


@given(WORDS, st.lists(ANY_TEXT))
def test_encode_never_grows_the_vocabulary(words: list[str], text: list[str]) -> None:
    vocabulary = vocabulary_of(words)
    size, fingerprint = len(vocabulary), vocabulary.fingerprint
    first = vocabulary.encode(text)
    assert vocabulary.encode(text) == first == [2 + words.index(word) if word in words else 1 for word in text]
    assert (len(vocabulary), vocabulary.fingerprint) == (size, fingerprint) == (2 + len(words), fingerprint)


@given(WORDS.filter(len), st.data())
def test_known_words_survive_the_round_trip(words: list[str], data: st.DataObject) -> None:
    vocabulary = vocabulary_of(words)
    text = data.draw(st.lists(st.sampled_from(words)))
    assert vocabulary.decode(vocabulary.encode(text)) == text


def test_decode_gives_the_reserved_names_and_refuses_ids_beyond_the_end() -> None:
    vocabulary = vocabulary_of(["a"])
    assert vocabulary.decode(iter([2, 0, 1])) == ["a", "<pad>", "<unk>"]
    for id_ in (3, -1):
        with pytest.raises(IndexError, match="ids run from 0 to 2"):
            vocabulary.decode([0, id_])


# Written down and compared.


@given(WORDS)
def test_json_round_trip(words: list[str]) -> None:
    vocabulary = vocabulary_of(words)
    text = vocabulary.to_json()
    assert text.isascii()
    assert json.loads(text) == ["<pad>", "<unk>", *words]
    back = Vocabulary.from_json(text)
    assert back == vocabulary
    assert hash(back) == hash(vocabulary)
    assert back.encode(["<pad>", *words]) == vocabulary.encode(["<pad>", *words])


@given(WORDS, WORDS)
def test_fingerprints_are_equal_for_equal_tokens_alone(words: list[str], others: list[str]) -> None:
    for second in (others, list(reversed(words)), words[:-1], ["".join(words)], list(words)):
        if UNKNOWN in second or PAD in second:
            continue
        one, two = vocabulary_of(words), vocabulary_of(second)
        assert (one.fingerprint == two.fingerprint) == (words == second) == (one == two)


def test_a_fingerprint_is_a_sha256_that_other_processes_find_too() -> None:
    # sha256sum of: ["<pad>", "<unk>", "a"]
    expected = "5bc0b3145e04568cdf8f58affc9208d31998f9994abdbea16f019395274ecc90"
    assert vocabulary_of(["a"]).fingerprint == expected


def test_equality_is_with_vocabularies_only() -> None:
    assert vocabulary_of(["a"]) != ("<pad>", "<unk>", "a")
    assert len({vocabulary_of(["a"]), vocabulary_of(["a"]), vocabulary_of(["b"])}) == 2


# Errors.


@pytest.mark.parametrize("tokens", [[], ["<pad>"], ["<unk>", "<pad>", "a"], ["a", "<pad>", "<unk>"]])
def test_tokens_without_the_reserved_names_in_front(tokens: list[str]) -> None:
    with pytest.raises(ValueError, match="a vocabulary begins with '<pad>', '<unk>'"):
        Vocabulary(tokens)


@pytest.mark.parametrize("again", ["a", "<pad>", "<unk>"])
def test_a_token_given_twice(again: str) -> None:
    with pytest.raises(ValueError, match=f"the token '{again}' is in the vocabulary twice"):
        Vocabulary(["<pad>", "<unk>", "a", "b", again])


@pytest.mark.parametrize("text", ["", "{", '{"<pad>": 0}', "null", '["<pad>", "<unk>", 3]', '["a"]', '"<pad><unk>"'])
def test_json_that_is_no_vocabulary(text: str) -> None:
    with pytest.raises(ValueError, match=r"vocabulary|Expect"):
        Vocabulary.from_json(text)
