"""Tokens to ids and back."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

PAD, UNKNOWN = "<pad>", "<unk>"
PAD_ID, UNKNOWN_ID = 0, 1


class _Ids(dict[str, int]):
    """Ids by token: that of `<unk>` for any other. A lookup that C does alone takes two thirds of `get`'s time."""

    def __missing__(self, token: str) -> int:
        return UNKNOWN_ID


class Vocabulary:
    """An immutable list of tokens; a token's place is its id. `<pad>` is 0 and `<unk>` is 1.

    >>> vocabulary = Vocabulary.build({"a": 3, "c": 2, "b": 2, "rare": 1}, min_freq=2)
    >>> vocabulary.tokens
    ('<pad>', '<unk>', 'a', 'b', 'c')
    >>> vocabulary.encode(["c", "never seen"])
    [4, 1]
    """

    def __init__(self, tokens: Sequence[str]) -> None:
        """Take the tokens in the order of their ids.

        Raises:
            ValueError: `tokens` does not begin with `<pad>`, `<unk>`, or holds a token twice.
        """
        self.tokens = tuple(tokens)
        if self.tokens[:2] != (PAD, UNKNOWN):
            raise ValueError(f"a vocabulary begins with {PAD!r}, {UNKNOWN!r}, not with {list(self.tokens[:2])}")
        self._ids = _Ids({token: id_ for id_, token in enumerate(self.tokens)})
        if len(self._ids) != len(self.tokens):
            twice = next(token for token, count in Counter(self.tokens).items() if count > 1)
            raise ValueError(f"the token {twice!r} is in the vocabulary twice")
        # The two reserved names stand for ids, not for words: where a text spells one out, it is an unknown word.
        self._ids[PAD] = UNKNOWN_ID

    @classmethod
    def build(cls, counts: Mapping[str, int], min_freq: int = 1, max_size: int | None = None) -> Vocabulary:
        """Take the tokens seen at least `min_freq` times, the most frequent `max_size` of them (`<pad>` and `<unk>`
        not counted), by falling frequency and, where that ties, by code point."""
        from torchtext.vocab import Vocab

        return cls(Vocab(Counter(counts), max_size=max_size, min_freq=min_freq, specials=[PAD, UNKNOWN]).itos)

    def __len__(self) -> int:
        return len(self.tokens)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.tokens == other.tokens

    def __hash__(self) -> int:
        return hash(self.tokens)

    def encode(self, tokens: Iterable[str]) -> list[int]:
        """Return the id of each token, `UNKNOWN_ID` for one that is not in the vocabulary."""
        return list(map(self._ids.__getitem__, tokens))

    def decode(self, ids: Iterable[int]) -> list[str]:
        """Return the token of each id.

        Raises:
            IndexError: an id is not in `range(len(self))`.
        """
        ids = list(ids)
        if any(not 0 <= id_ < len(self) for id_ in ids):
            raise IndexError(f"ids run from 0 to {len(self) - 1}")
        return [self.tokens[id_] for id_ in ids]

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the tokens in their order, in hexadecimal: equal vocabularies, equal fingerprints."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def to_json(self) -> str:
        """Return the tokens as a JSON list, in ASCII, so that any token survives (lone surrogates, NUL)."""
        return json.dumps(self.tokens)

    @classmethod
    def from_json(cls, text: str) -> Vocabulary:
        """Read what `to_json` wrote.

        Raises:
            ValueError: `text` is not a JSON list of strings that makes a vocabulary.
        """
        tokens = json.loads(text)
        if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
            raise ValueError("a vocabulary in JSON is a list of strings")
        return cls(tokens)
