"""Characters, against Python's own strings."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from unroll.text import characters
from unroll.text.vocabulary import UNKNOWN_ID, Vocabulary

TEXTS = st.text(st.characters(), max_size=60)  # lone surrogates and NUL, too


@given(TEXTS)
def test_counts_are_those_of_the_text(text: str) -> None:
    assert characters.count(text) == Counter(text)


@given(TEXTS, TEXTS)
def test_ids_are_the_vocabularys(known: str, text: str) -> None:
    vocabulary = Vocabulary(["<pad>", "<unk>", *sorted(set(known))])
    ids = characters.encode(text, vocabulary)
    assert ids.tolist() == vocabulary.encode(text)
    assert [i for i, c in enumerate(text) if c not in known] == [i for i, id_ in enumerate(ids) if id_ == UNKNOWN_ID]


def test_words_of_a_vocabulary_are_no_characters() -> None:
    assert characters.encode("ab", Vocabulary(["<pad>", "<unk>", "ab", "b"])).tolist() == [UNKNOWN_ID, 3]
