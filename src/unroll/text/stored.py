"""Long texts as tokens on disk: counted and encoded chunk by chunk, and mapped into memory."""

from __future__ import annotations

import hashlib
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from unroll import durable
from unroll.text.codec import Codec, TokenizedText, TokenSize, count, spelling_of
from unroll.text.tokenizers import as_bytes
from unroll.text.vocabulary import UNKNOWN_ID, Vocabulary
from unroll.text.workers import in_order

FORMAT = 2  # raise it when `store` writes something else for a text: what was stored before is then not used
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
    """Return a text that is stored in a folder. Where it is not there yet, or is damaged, read it three times and store
    it.

    Of the files of tokens only the size is checked: a checksum of gigabytes would take longer than all else at a start.

    Args:
        folder: of all stored texts.
        key: plain values: all that the text, its parts and its codec depend on. They name the files.
        chunks: the text.
        cut: from the text's length to its parts, each (begin, end) in characters, one after another. The first is for
            training.
        learn: from the counts of the first part to the codec.
        tokenizer: the codec's name.
    """
    name = hashlib.sha256(json.dumps([FORMAT, key]).encode()).hexdigest()[:32]
    place = folder / f"text-{name}"
    try:
        return _load(place)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, ValueError) as error:
        print(f"The tokens in {place} are damaged ({error}); they are made anew.", file=sys.stderr)
    survey = _survey(chunks("measuring"))
    parts = cut(survey.characters)
    codec = learn(_counted(tokenizer, (piece.text for piece in _pieces(chunks("counting"), parts[:1]))))
    width = np.min_scalar_type(len(codec.vocabulary) - 1)
    durable.clear(place)
    with ExitStack() as stack:
        files = [stack.enter_context(durable.replacing(place / f"{number}.bin")) for number in range(len(parts))]
        written = [_Part(codec, file) for file in files]
        for encoded in in_order(partial(_encode, codec, width), _pieces(chunks("encoding"), parts)):
            written[encoded.part].write(encoded)
    about = {
        "survey": list(survey),
        "codec": codec.about(),
        "width": str(width),
        "parts": [part.about() for part in written],
    }
    text = json.dumps(about)
    durable.write_text(place / "about.json", f"{hashlib.sha256(text.encode()).hexdigest()}\n{text}")
    return _load(place)


def _load(place: Path) -> StoredText:
    """Return what is stored in a folder.

    Raises:
        FileNotFoundError, NotADirectoryError: nothing is there.
        ValueError: it is damaged.
    """
    check, _, text = (place / "about.json").read_text(encoding="utf-8").partition("\n")
    if hashlib.sha256(text.encode()).hexdigest() != check:
        raise ValueError("about.json has a wrong checksum")
    about = json.loads(text)
    width, parts = np.dtype(about["width"]), []
    for number, part in enumerate(about["parts"]):
        path, size = place / f"{number}.bin", part["tokens"] * width.itemsize
        if not path.exists() or path.stat().st_size != size:
            raise ValueError(f"{path.name} has not {size:,} bytes")
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


class _Piece(NamedTuple):
    """A part of a chunk."""

    part: int  # the number of the part of the text that it is in
    text: str


def _pieces(chunks: Iterator[str], parts: Sequence[tuple[int, int]]) -> Iterator[_Piece]:
    """Yield the chunks of a text as far as they lie in its parts, cut where a part begins or ends."""
    place = 0
    for chunk in chunks:
        for number, (begin, end) in enumerate(parts):
            if text := chunk[max(0, begin - place) : max(0, end - place)]:
                yield _Piece(number, text)
        place += len(chunk)
        if place >= parts[-1][1]:
            return


def _counted(tokenizer: str, chunks: Iterator[str]) -> Mapping[str, int]:
    """Count what the tokenizer's `split` gives.

    Of more than `MOST_TYPES`, those that occurred least so far are dropped, again and again, as in lossy counting
    (Manku & Motwani 2002): what is frequent stays, at most a little undercounted.
    """
    counts: Counter[str] = Counter()
    least = 1
    for of_chunk in in_order(partial(count, tokenizer), chunks):
        counts.update(of_chunk)
        while len(counts) > MOST_TYPES:
            counts = Counter({piece: times for piece, times in counts.items() if times > least})
            least += 1
    total = counts.total()
    if tokenizer == "bpe" and total > SAMPLE:
        return {piece: share for piece, times in counts.items() if (share := round(times * SAMPLE / total))}
    return counts


class _Encoded(NamedTuple):
    """A piece as ids, and what is counted of it."""

    part: int
    ids: npt.NDArray[Any]
    first: str  # token, "" where there is none
    characters: int
    bytes: int
    spelling: int  # bits, of all unknown words
    spelling_of_first: int


def _encode(codec: Codec, width: np.dtype[Any], piece: _Piece) -> _Encoded:
    text, spelled, first_spelled = piece.text, 0, 0
    if codec.rule.unit == "words":
        words = list(codec.rule.split(text))
        ids, first = np.array(codec.vocabulary.encode(words), width), words[0] if words else ""
        spelled = sum(spelling_of(words[place]) for place in np.flatnonzero(ids == UNKNOWN_ID))
        first_spelled = spelling_of(first) if words and ids[0] == UNKNOWN_ID else 0
    else:
        ids, first = codec.encode(text).astype(width), codec.first(text)
    return _Encoded(piece.part, ids, first, len(text), len(as_bytes(text)), spelled, first_spelled)


class _Part:
    """A part of a text while it is written."""

    def __init__(self, codec: Codec, file: BinaryIO) -> None:
        self.codec, self.file = codec, file
        self.tokens = self.unknown = self.characters = self.bytes = self.spelling = 0
        self.first = ""

    def write(self, piece: _Encoded) -> None:
        """Write the ids of what follows."""
        self.file.write(piece.ids.data)
        self.unknown += int(np.count_nonzero(piece.ids == UNKNOWN_ID))
        self.spelling += piece.spelling
        if not self.tokens:  # the first token is not predicted
            self.first = piece.first
            self.spelling -= piece.spelling_of_first
        self.tokens += len(piece.ids)
        self.characters += piece.characters
        self.bytes += piece.bytes

    def about(self) -> dict[str, Any]:
        """Return what `_load` needs to know."""
        size = self.codec.token_size(self.first, self.tokens, self.characters, self.bytes, self.spelling)
        return {"tokens": self.tokens, "unknown": self.unknown, "size": size._asdict(), "first": self.first}
