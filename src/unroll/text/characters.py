"""Characters as tokens: counts and ids of whole books at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from unroll.text.vocabulary import UNKNOWN_ID, Vocabulary

CHUNK = 2**20  # characters at a time: each takes four bytes for its code point


def count(text: str) -> dict[str, int]:
    """Return how often each character (Unicode code point) occurs in `text`, in the order of code points."""
    total: Counter[int] = Counter()
    for _, points in _code_points(text):
        counts = np.bincount(points)
        total.update({int(character): int(counts[character]) for character in np.flatnonzero(counts)})
    return {chr(character): total[character] for character in sorted(total)}


def encode(text: str, vocabulary: Vocabulary) -> npt.NDArray[np.int32]:
    """Return the id of each character, (len(text),); `UNKNOWN_ID` for one that is not in the vocabulary."""
    characters = [token for token in vocabulary.tokens if len(token) == 1]
    known = [ord(character) for character in characters]
    ids_of_points = np.full(max(known, default=0) + 2, UNKNOWN_ID, dtype=np.int32)  # the last: of all beyond
    ids_of_points[known] = vocabulary.encode(characters)
    ids = np.empty(len(text), dtype=np.int32)
    for start, points in _code_points(text):
        ids[start : start + CHUNK] = ids_of_points[np.minimum(points, len(ids_of_points) - 1)]
    return ids


def _code_points(text: str) -> Iterator[tuple[int, npt.NDArray[np.uint32]]]:
    """The code points of each chunk of a text, and where it begins."""
    for start in range(0, len(text), CHUNK):
        chunk = text[start : start + CHUNK].encode("utf-32-le", "surrogatepass")
        yield start, np.frombuffer(chunk, dtype=np.uint32)
