"""A tokenised text corpus on disk: written as it is read, and mapped into memory."""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from sys import getsizeof
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from unroll import runtime
from unroll.config.classification import MAX_MEMORY_MIB
from unroll.durable import clear, replacing
from unroll.errors import DataError
from unroll.text import mapped
from unroll.text.codec import Codec
from unroll.text.tokenizers import get_tokenizer
from unroll.text.workers import in_order

FORMAT = 4  # raise it when `tokenize` changes what it gives for a text: old caches are then not used
CHUNK = 2**20  # characters that are cut at a time, tokens that are worked on, bytes that are read
BYTES_PER_TYPE = 100  # beside the string itself: of dicts and lists, and of the vocabulary
BYTES_PER_ROW = 32  # whatever its length, while it is put into splits and batches

Tokens = npt.NDArray[np.unsignedinteger[Any]]


@dataclass(frozen=True)
class TokenizedCorpus:
    """Labelled documents, tokenised: document i is `types[tokens[offsets[i]:offsets[i + 1]]]`, and its label is
    `label_values[labels[i]]`.

    It holds all types of its texts and no vocabulary, so one cache serves every vocabulary and every split. For the
    tokenizer `bpe` the types are pieces, until `segmented` cuts them. The arrays are maps of a file.
    """

    tokens: Tokens  # (all tokens + 1,), indices into `types`; the last, `len(types)`, is none: empty documents read it
    offsets: npt.NDArray[np.int64]  # (documents + 1,)
    types: list[str]  # distinct tokens
    labels: npt.NDArray[np.int32]  # (documents,), indices into `label_values`
    label_values: list[int | str]  # distinct, all of one type, in the order in which they are first met
    text_hashes: npt.NDArray[np.uint64]  # (documents,), equal for equal texts
    fingerprint: str  # SHA-256 of all texts and labels in their order

    def __len__(self) -> int:
        return len(self.labels)

    def blocks(self) -> Iterator[slice]:
        """Yield all documents in slices of about `CHUNK` tokens. The memory of what was read is given back."""
        first = 0
        while first < len(self):
            last = int(np.searchsorted(self.offsets, self.offsets[first] + CHUNK, "right")) - 1
            last = max(first + 1, last)
            yield slice(first, last)
            self.give_back()
            first = last

    def give_back(self) -> None:
        """Let the system take the memory of what was read of the arrays."""
        for each in (self.tokens, self.offsets, self.labels, self.text_hashes):
            mapped.give_back(each)


def tokenize(
    rows: Iterable[tuple[str, int | str]],
    tokenizer: str,
    place: object = "the texts",
    max_memory_mib: int = MAX_MEMORY_MIB,
    file: BinaryIO | None = None,
    folder: Path | None = None,
) -> TokenizedCorpus:
    """Tokenise (text, label) rows on all cores: neither the texts nor what is known of each is kept in memory.

    Args:
        rows: from `unroll.corpora.files.read_rows`, for example.
        tokenizer: one of `unroll.config.settings.TOKENIZERS`.
        place: where the rows come from, for errors.
        max_memory_mib: that distinct tokens and labels may take, and the rows when they are split, in MiB.
        file: an empty file to write the corpus to, for `cached`; None: one without a name.
        folder: of files without a name; None: the system's.

    Raises:
        DataError: it would take more memory. The message names `place` and data.max_memory_mib.
        ValueError: there is no such tokenizer.
    """
    get_tokenizer(tokenizer)
    types, values = _Numbers(), _Numbers()
    spelled: list[bytes] = []  # labels, as the fingerprint takes them
    digest, total = hashlib.sha256(), 0
    with ExitStack() as stack:

        def nameless() -> BinaryIO:
            return stack.enter_context(tempfile.TemporaryFile(dir=folder))

        out = file or nameless()
        offsets, hashes, labels = (mapped.Column(nameless(), dtype) for dtype in (np.int64, np.uint64, np.int32))
        offsets.append(np.zeros(1))
        for cut, its_labels in _cuts(rows, tokenizer):
            out.write(types.of(cut.types)[cut.tokens].data)
            offsets.append(total + np.cumsum(cut.lengths, dtype=np.int64))
            total += len(cut.tokens)
            codes = values.of(its_labels)
            labels.append(codes)
            spelled += [json.dumps(value).encode() + b"\n" for value in islice(values, len(spelled), None)]
            texts = [cut.digests[start : start + 32] for start in range(0, len(cut.digests), 32)]
            digest.update(b"".join([text + spelled[code] for text, code in zip(texts, codes.tolist(), strict=True)]))
            hashes.append(np.frombuffer(cut.digests, "<u8")[::4])
            if types.size + values.size + BYTES_PER_ROW * len(labels) > max_memory_mib * 2**20:
                raise DataError(
                    f"{place}: its words, labels and rows need more than {max_memory_mib} MiB of memory, by row "
                    f"{len(labels):,}; cut the table, or write a larger data.max_memory_mib"
                )
        out.write(np.array([len(types)], np.int32).data)
        count, width = total + 1, np.min_scalar_type(len(types))
        mapped.narrow(out, count, np.dtype(np.int32), width)
        names, numbers = _of_one_type(list(values), labels.array())
        arrays = {"offsets": offsets.array(), "text_hashes": hashes.array(), "labels": numbers}
        about = {"types": list(types), "label_values": names, "fingerprint": digest.hexdigest()}
        mapped.finish(out, ("tokens", width, count), arrays, about)
        return _read(out)


class _Cut(NamedTuple):
    """Some texts as tokens."""

    types: list[str]
    tokens: npt.NDArray[np.int32]  # (all tokens,), indices into `types`
    lengths: npt.NDArray[np.int32]  # (texts,)
    digests: bytes  # (32 x texts,), their SHA-256


def _cut(tokenizer: str, texts: list[str]) -> _Cut:
    split, types, tokens, lengths, digests = get_tokenizer(tokenizer), _Numbers(), array("i"), array("i"), []
    for text in texts:
        before = len(tokens)
        tokens.extend(map(types.__getitem__, split(text)))
        lengths.append(len(tokens) - before)
        digests.append(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest())
    return _Cut(list(types), np.array(tokens, np.int32), np.array(lengths, np.int32), b"".join(digests))


def _cuts(rows: Iterable[tuple[str, int | str]], tokenizer: str) -> Iterator[tuple[_Cut, list[int | str]]]:
    """Yield the rows in chunks: the texts as tokens, and their labels, which stay in this process."""
    waiting: deque[list[int | str]] = deque()

    def chunks() -> Iterator[list[str]]:
        texts: list[str] = []
        labels: list[int | str] = []
        size = 0
        for text, label in rows:
            texts.append(text)
            labels.append(label)
            size += len(text) + BYTES_PER_ROW
            if size >= CHUNK:
                waiting.append(labels)
                yield texts
                texts, labels, size = [], [], 0
        if texts:
            waiting.append(labels)
            yield texts

    for cut in in_order(partial(_cut, tokenizer), chunks()):
        yield cut, waiting.popleft()


class _Numbers(dict[Any, int]):
    """Numbers values in the order in which they are first met: looking up a new one adds it."""

    size = 0  # bytes of the values that `of` has met

    def __missing__(self, value: Any) -> int:
        number = self[value] = len(self)
        return number

    def of(self, values: Sequence[Any]) -> npt.NDArray[np.int32]:
        """Return the number of each value, (values,)."""
        known = len(self)
        numbers = np.fromiter(map(self.__getitem__, values), np.int32, len(values))
        self.size += sum(getsizeof(value) + BYTES_PER_TYPE for value in islice(reversed(self), len(self) - known))
        return numbers


def _of_one_type(
    values: list[int | str], labels: npt.NDArray[np.int32]
) -> tuple[list[int | str], npt.NDArray[np.int32]]:
    """Return labels as names where some are names and others numbers, as in a table whose labels are `1` and `good`."""
    if len({type(value) for value in values}) < 2:
        return values, labels
    names = _Numbers()
    numbers = names.of([str(value) for value in values])
    return list(names), numbers[labels]


def segmented(corpus: TokenizedCorpus, codec: Codec, folder: Path | None = None) -> TokenizedCorpus:
    """Return the corpus with its types cut into the codec's tokens, which are then its types. If the types are tokens
    already, return it as it is.

    The tokens are kept in a file without a name, in `folder`.
    """
    if codec.name != "bpe":
        return corpus
    encode = codec.piecewise()
    ids = [encode([piece]) for piece in corpus.types]
    lengths = np.array([len(each) for each in ids], dtype=np.int64)
    types = list(codec.vocabulary.tokens)
    width = np.min_scalar_type(len(types))
    all_ids = np.array([id_ for each in ids for id_ in each], dtype=width)
    starts = np.cumsum(lengths) - lengths  # of each type in `all_ids`
    offsets, total = np.zeros(len(corpus.offsets), np.int64), 0
    with tempfile.TemporaryFile(dir=folder) as file:
        for rows in corpus.blocks():
            bounds = corpus.offsets[rows.start : rows.stop + 1]
            pieces = corpus.tokens[bounds[0] : bounds[-1]]
            ends = np.append(0, np.cumsum(lengths[pieces]))
            # Of each token, its place in `all_ids`: that of its piece, and its place in the piece.
            places = np.arange(ends[-1]) + np.repeat(starts[pieces] - ends[:-1], lengths[pieces])
            file.write(all_ids[places].data)
            offsets[rows.start + 1 : rows.stop + 1] = total + ends[bounds[1:] - bounds[0]]
            total += len(places)
        file.write(np.array([len(types)], width).data)
        file.flush()
        return replace(corpus, tokens=np.memmap(file, width, "r"), offsets=offsets, types=types)


def cached(path: Path, build: Callable[[BinaryIO], TokenizedCorpus]) -> TokenizedCorpus:
    """Return the corpus kept at `path`. Where there is none, or a damaged one, let `build` write it there.

    The name of `path` must follow from all that `build` depends on (see `cache_name`).
    """
    try:
        with path.open("rb") as file:
            return _read(file)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, ValueError) as error:
        print(f"The cache {path} is damaged ({error}); it is made anew.", file=sys.stderr)
    clear(path.parent)
    with replacing(path) as file:
        corpus = build(file)
    runtime.give_back_freed()
    return corpus


def cache_name(content_sha256: str, tokenizer: str) -> str:
    """Return the file name for the tokens of a text file with this SHA-256, cut by this tokenizer."""
    key = hashlib.sha256(json.dumps([FORMAT, content_sha256, tokenizer]).encode()).hexdigest()
    return f"tokens-{key[:32]}.bin"


def _read(file: BinaryIO) -> TokenizedCorpus:
    """Map a file into memory.

    Raises:
        ValueError: it is damaged.
    """
    arrays, about = mapped.read(file)
    values: dict[str, Any] = arrays | about
    return TokenizedCorpus(**values)
