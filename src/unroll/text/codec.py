"""Texts to ids and back: a tokenizer with what it learnt from the training part."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from unroll.config.settings import BPE_SIZE
from unroll.text import bpe, characters
from unroll.text.tokenizers import BYTE_LEVEL, Rule, Writer, as_bytes, rule
from unroll.text.vocabulary import UNKNOWN_ID, Vocabulary

CHUNK = 2**20  # characters of a text that are cut at a time, up to the next line end

Ids = npt.NDArray[np.int32]

_CHARACTERS: dict[str, Callable[[str], str]] = {"characters": str, "bytes": as_bytes}
"""Of the tokenizers whose tokens are single characters, from a text to a text of these."""


class TokenSize(NamedTuple):
    """What a token stands for, on average over the tokens of a text that are predicted: all but the first.

    The text of an unknown word can't be told from `<unk>`. So each is charged with its spelling: 8 bits for each of its
    bytes, and 8 for its end. Without that, the fewer words a model knows, the better its bits per character would look.
    """

    characters: float = 1.0
    bytes: float = 1.0  # in UTF-8
    spelling: float = 0.0  # bits, for unknown words

    def bits(self, nats: Any) -> Any:
        """Return the bits for a token, its spelling included, from the mean cross entropy, a number or a tensor."""
        return nats / math.log(2) + self.spelling


@dataclass(frozen=True)
class TokenizedText:
    """The ids of a text, (tokens,), of any width, the size of its tokens, and how many the vocabulary does not hold."""

    ids: npt.NDArray[Any]
    size: TokenSize
    unknown: int

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Codec:
    """A tokenizer, its vocabulary, and for `bpe` its merges.

    >>> codec = Codec.learn("whitespace", count("whitespace", "to be or not to be"))
    >>> codec.vocabulary.tokens[2:]
    ('be', 'to', 'not', 'or')
    >>> codec.encode("not to sleep").tolist(), codec.decode([2, 3])
    ([4, 3, 1], 'be to')
    """

    name: str
    vocabulary: Vocabulary
    merges: tuple[str, ...] = ()

    @classmethod
    def learn(cls, name: str, counts: Mapping[str, int], min_freq: int = 1, max_size: int | None = None) -> Codec:
        """Choose the vocabulary.

        Args:
            name: of the tokenizer.
            counts: how often the training part holds each of what the tokenizer's `split` gives.
            min_freq: rarer tokens are left out; `bpe` joins no rarer pairs.
            max_size: tokens, `<pad>` and `<unk>` not counted; None means all, for `bpe` `BPE_SIZE`.
        """
        if name not in BYTE_LEVEL:
            return cls(name, Vocabulary.build(counts, min_freq, max_size))
        merges = bpe.learn(counts, max_size or BPE_SIZE, min_freq) if name == "bpe" else ()
        return cls(name, bpe.vocabulary_of(merges), merges)

    @property
    def rule(self) -> Rule:
        return rule(self.name)

    def about(self) -> dict[str, Any]:
        """Return the codec as plain values, for a checkpoint."""
        merges = {"merges": list(self.merges)} if self.name == "bpe" else {}
        return {"tokenizer": self.name, "vocabulary": list(self.vocabulary.tokens), **merges}

    @cached_property
    def _bpe(self) -> Any:
        return bpe.model_of(self.vocabulary, self.merges)

    def tokens(self, text: str) -> list[str]:
        """Return the tokens of a text, those that the vocabulary does not hold as they stand."""
        pieces = self.rule.split(text)
        if self.name == "bpe":
            return [token.value for piece in pieces for token in self._bpe.tokenize(piece)]
        return list(pieces)

    def encode(self, text: str) -> Ids:
        """Return the id of each token, (tokens,); `UNKNOWN_ID` for one that is not in the vocabulary."""
        if self.name in _CHARACTERS:
            return characters.encode(_CHARACTERS[self.name](text), self.vocabulary)
        encode, split = self.piecewise(), self.rule.split
        chunks = (encode(split(chunk)) for chunk in _chunks(text))
        return np.concatenate([np.array(ids, dtype=np.int32) for ids in chunks])

    def piecewise(self) -> Callable[[Iterable[str]], list[int]]:
        """Return a function from what `split` gives to ids. It remembers the ids of each piece."""
        if self.name != "bpe":
            return self.vocabulary.encode
        known: dict[str, list[int]] = {}

        def encode(pieces: Iterable[str]) -> list[int]:
            ids: list[int] = []
            for piece in pieces:
                found = known.get(piece)
                if found is None:
                    found = known[piece] = [token.id for token in self._bpe.tokenize(piece)]
                ids += found
            return ids

        return encode

    def tokenize(self, text: str) -> TokenizedText:
        """Return the ids of a text, and the size of its tokens."""
        ids = self.encode(text)
        bytes_ = sum(len(as_bytes(chunk)) for chunk in _chunks(text))
        size = self.token_size(self.first(text), len(ids), len(text), bytes_, self.spelling(text, ids))
        return TokenizedText(ids, size, int((ids == UNKNOWN_ID).sum()))

    def token_size(self, first: str, tokens: int, characters: int, bytes_: int, spelling: int) -> TokenSize:
        """Return the mean size of a text's tokens.

        Args:
            first: the first token, which is not predicted.
            tokens, characters, bytes_: of the whole text.
            spelling: see `spelling`.
        """
        if self.name in BYTE_LEVEL:  # a character counts where it begins
            size_of_first = sum(not 0x80 <= ord(byte) < 0xC0 for byte in first), len(first)
        else:
            size_of_first = len(first), len(as_bytes(first))
        predicted = max(1, tokens - 1)
        return TokenSize(
            characters=max(1, characters - size_of_first[0]) / predicted,
            bytes=max(1, bytes_ - size_of_first[1]) / predicted,
            spelling=spelling / predicted,
        )

    def spelling(self, text: str, ids: Ids, skip: int = 1) -> int:
        """Return the bits that spell the unknown words of a text, without the first `skip` words."""
        if self.rule.unit != "words":
            return 0
        words = (word for chunk in _chunks(text) for word in self.rule.split(chunk))
        predicted = islice(zip(words, ids, strict=True), skip, None)
        return sum(spelling_of(word) for word, id_ in predicted if id_ == UNKNOWN_ID)

    def first(self, text: str) -> str:
        """Return the first token of a text, nothing where it has none."""
        piece = next((piece for chunk in _chunks(text) for piece in self.rule.split(chunk)), "")
        first: str = self._bpe.tokenize(piece)[0].value if piece and self.name == "bpe" else piece
        return first

    def writer(self, before: str = "") -> Writer:
        """Return a function that takes tokens one after another and returns what each adds to the text `before`."""
        return self.rule.writer(before)

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of ids. Raises IndexError where one of them is no id."""
        return "".join(map(self.writer(), self.vocabulary.decode(ids)))

    def label(self, token: str) -> str:
        """Return a token as people read it: of `bpe` its text, or its bytes where they are no whole characters."""
        return token.encode("latin-1").decode("utf-8", "backslashreplace") if self.name in BYTE_LEVEL else token

    @property
    def choices(self) -> npt.NDArray[np.intp]:
        """The ids that a text may be written with."""
        alone = self.name == "characters"
        return np.flatnonzero(
            [id_ > UNKNOWN_ID and (not alone or len(token) == 1) for id_, token in enumerate(self.vocabulary.tokens)]
        )

    def is_token(self, text: str) -> bool:
        """Return whether a text can be a token, known or not."""
        if self.name in BYTE_LEVEL:
            return self.vocabulary.encode([text]) != [UNKNOWN_ID]
        return list(self.rule.split(text)) == [text]


def spelling_of(word: str) -> int:
    """Return the bits that spell an unknown word, see `TokenSize`."""
    return 8 * (len(as_bytes(word)) + 1)


def count(name: str, text: str) -> Mapping[str, int]:
    """Return how often a text holds each of what the tokenizer's `split` gives."""
    if name in _CHARACTERS:
        return characters.count(_CHARACTERS[name](text))
    counts: Counter[str] = Counter()
    for chunk in _chunks(text):
        counts.update(rule(name).split(chunk))
    return counts


def _chunks(text: str) -> Iterator[str]:
    """Cut a text at line ends: the tokens of the parts are those of the text."""
    start = 0
    while start < len(text) or not start:
        end = text.find("\n", start + CHUNK) + 1 or len(text)
        yield text[start:end]
        start = end or 1
