"""Long texts as tokens on disk: counted and encoded chunk by chunk, and mapped into memory."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from unroll import durable
from unroll.text.codec import Codec, TokenizedText, TokenSize, count
from unroll.text.vocabulary import UNKNOWN_ID, Vocabulary

FORMAT = 1  # raise it when `store` writes something else for a text: what was stored before is then not used
MOST_TYPES = 2_000_000  # distinct words, or pieces, that are counted at a time; the rarest are dropped beyond
SAMPLE = 20_000_000  # pieces that byte-pair encoding learns from, about

Chunks = Callable[[str], Iterator[str]]
"""Yields a text from its beginning, in chunks whose tokens are those of the text. Its argument says what for."""


class Survey(NamedTuple):
    """What one reading of a text tells."""

    characters: int
    fingerprint: str  # SHA-256 of the text in UTF-8


@dataclass(frozen=True)
class StoredText:
    """A text that is stored: its survey, its codec, its first token, and the tokens of its parts."""

    survey: Survey
    codec: Codec
    opening: str
    parts: tuple[TokenizedText, ...]


def stored(
    folder: Path,
    key: Sequence[object],
    chunks: Chunks,
    cut: Callable[[int], Sequence[tuple[int, int]]],
    learn: Callable[[Mapping[str, int]], Codec],
    tokenizer: str,
) -> StoredText:
    """Return a text that is stored in a folder. Where it is not there yet, read it three times and store it.

    Args:
        folder: of all stored texts.
        key: plain values: all that the text, its parts and its codec depend on. They name the files.
        chunks: the text.
        cut: from the text's length to its parts, each (begin, end) in characters. The first is for training.
        learn: from the counts of the first part to the codec.
        tokenizer: the codec's name.
    """
    name = hashlib.sha256(json.dumps([FORMAT, key]).encode()).hexdigest()[:32]
    place = folder / f"text-{name}"
    if (found := _load(place)) is not None:
        return found
    survey = _survey(chunks("measuring"))
    parts = cut(survey.characters)
    codec = learn(_counted(tokenizer, _within(chunks("counting"), *parts[0])))
    width = np.min_scalar_type(len(codec.vocabulary) - 1)
    durable.clear(place)
    with ExitStack() as stack:
        files = [stack.enter_context(durable.replacing(place / f"{number}.bin")) for number in range(len(parts))]
        written = [_Part(codec, width, file) for file in files]
        where = 0
        for chunk in chunks("encoding"):
            for part, (begin, end) in zip(written, parts, strict=True):
                part.write(chunk[max(0, begin - where) : max(0, end - where)])
            where += len(chunk)
    about = {
        "survey": list(survey),
        "codec": codec.about(),
        "width": str(width),
        "parts": [part.about() for part in written],
    }
    durable.write_text(place / "about.json", json.dumps(about))
    kept = _load(place)
    assert kept is not None
    return kept


def _load(place: Path) -> StoredText | None:
    """Return what is stored in a folder; None where that is not complete."""
    try:
        about = json.loads((place / "about.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    width, parts = np.dtype(about["width"]), []
    for number, part in enumerate(about["parts"]):
        path = place / f"{number}.bin"
        if not path.exists() or path.stat().st_size != part["tokens"] * width.itemsize:
            return None
        ids = np.memmap(path, width, "r") if part["tokens"] else np.zeros(0, width)
        parts.append(TokenizedText(ids, TokenSize(**part["size"]), part["unknown"]))
    codec = about["codec"]
    vocabulary = Vocabulary(tuple(codec["vocabulary"]))
    return StoredText(
        Survey(*about["survey"]),
        Codec(codec["tokenizer"], vocabulary, tuple(codec.get("merges", ()))),
        about["parts"][0]["first"],
        tuple(parts),
    )


def _survey(chunks: Iterator[str]) -> Survey:
    characters, digest = 0, hashlib.sha256()
    for chunk in chunks:
        characters += len(chunk)
        digest.update(chunk.encode("utf-8", "surrogatepass"))
    return Survey(characters, digest.hexdigest())


def _within(chunks: Iterator[str], begin: int, end: int) -> Iterator[str]:
    """Yield what lies between two places of a text."""
    place = 0
    for chunk in chunks:
        if place >= end:
            return
        if part := chunk[max(0, begin - place) : end - place]:
            yield part
        place += len(chunk)


def _counted(tokenizer: str, chunks: Iterator[str]) -> Mapping[str, int]:
    """Count what the tokenizer's `split` gives.

    Of more than `MOST_TYPES`, those that occurred least so far are dropped, again and again, as in lossy counting
    (Manku & Motwani 2002): what is frequent stays, at most a little undercounted.
    """
    counts: Counter[str] = Counter()
    least = 1
    for chunk in chunks:
        counts.update(count(tokenizer, chunk))
        while len(counts) > MOST_TYPES:
            counts = Counter({piece: times for piece, times in counts.items() if times > least})
            least += 1
    total = counts.total()
    if tokenizer == "bpe" and total > SAMPLE:
        return {piece: share for piece, times in counts.items() if (share := round(times * SAMPLE / total))}
    return counts


class _Part:
    """A part of a text while it is written."""

    def __init__(self, codec: Codec, width: np.dtype[Any], file: BinaryIO) -> None:
        self.codec, self.width, self.file = codec, width, file
        self.tokens = self.unknown = self.characters = self.bytes = self.spelling = 0
        self.first = ""

    def write(self, chunk: str) -> None:
        """Write the ids of what follows."""
        if not chunk:
            return
        ids = self.codec.encode(chunk)
        self.file.write(ids.astype(self.width).tobytes())
        self.unknown += int(np.count_nonzero(ids == UNKNOWN_ID))
        self.spelling += self.codec.spelling(chunk, ids, skip=0 if self.tokens else 1)
        if not self.tokens:
            self.first = self.codec.first(chunk)
        self.tokens += len(ids)
        self.characters += len(chunk)
        self.bytes += len(chunk.encode("utf-8", "surrogatepass"))

    def about(self) -> dict[str, Any]:
        """Return what `_load` needs to know."""
        size = self.codec.token_size(self.first, self.tokens, self.characters, self.bytes, self.spelling)
        return {"tokens": self.tokens, "unknown": self.unknown, "size": size._asdict(), "first": self.first}
