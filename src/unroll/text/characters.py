"""Characters as tokens: counts and ids of whole books at once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from unroll.text.vocabulary import UNKNOWN_ID, Vocabulary


def count(text: str) -> dict[str, int]:
    """Return how often each character (Unicode code point) occurs in `text`, in the order of code points."""
    characters, counts = np.unique(_code_points(text), return_counts=True)
    return {chr(character): number for character, number in zip(characters.tolist(), counts.tolist(), strict=True)}


def encode(text: str, vocabulary: Vocabulary) -> npt.NDArray[np.int32]:
    """Return the id of each character, (len(text),); `UNKNOWN_ID` for one that is not in the vocabulary."""
    characters = [token for token in vocabulary.tokens if len(token) == 1]
    points = _code_points(text)
    ids = np.full(max([0, *map(ord, characters), int(points.max(initial=0))]) + 1, UNKNOWN_ID, dtype=np.int32)
    ids[[ord(character) for character in characters]] = vocabulary.encode(characters)
    return ids[points]


def _code_points(text: str) -> npt.NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
