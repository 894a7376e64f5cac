"""A tokenised text corpus as flat arrays, and its cache on disk."""

from __future__ import annotations

import hashlib
import json
import sys
from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from sys import getsizeof
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from unroll.config.classification import MAX_MEMORY_MIB
from unroll.durable import clear, replacing
from unroll.errors import DataError
from unroll.text.codec import Codec
from unroll.text.tokenizers import get_tokenizer

FORMAT = 3  # raise it when `tokenize` changes what it gives for a text: old caches are then not used
BYTES_PER_ENTRY = 100  # beside its key, of a dict, or of a row while it is put into splits and batches
AT_ONCE = 1024  # documents whose pieces are cut into tokens at a time


@dataclass(frozen=True)
class TokenizedCorpus:
    """Labelled documents, tokenised; document i is `types[tokens[offsets[i]:offsets[i + 1]]]`.

    It holds all types of its texts and no vocabulary, so one cache serves every vocabulary and every split. For the
    tokenizer `bpe` the types are pieces, until `segmented` cuts them.
    """

    tokens: npt.NDArray[np.int32]  # (all tokens,), indices into `types`
    offsets: npt.NDArray[np.int64]  # (documents + 1,)
    types: list[str]  # distinct tokens
    labels: list[int | str]  # (documents,), all of one type
    text_hashes: npt.NDArray[np.uint64]  # (documents,), equal for equal texts
    fingerprint: str  # SHA-256 of all texts and labels in their order

    def __len__(self) -> int:
        return len(self.labels)


def tokenize(
    rows: Iterable[tuple[str, int | str]],
    tokenizer: str,
    place: object = "the texts",
    max_memory_mib: int = MAX_MEMORY_MIB,
) -> TokenizedCorpus:
    """Tokenise (text, label) rows, one at a time: the texts are not kept.

    Args:
        rows: from `unroll.corpora.files.read_rows`, for example.
        tokenizer: one of `unroll.config.settings.TOKENIZERS`.
        place: where the rows come from, for errors.
        max_memory_mib: that the corpus may take, in MiB.

    Raises:
        DataError: it would take more. The message names `place` and data.max_memory_mib.
        ValueError: there is no such tokenizer.
    """
    split = get_tokenizer(tokenizer)
    type_ids: dict[str, int] = {}
    tokens, offsets, hashes = array("i"), array("q", [0]), array("Q")
    labels: list[int | str] = []
    names: dict[int | str, int | str] = {}  # equal labels are one object
    digest = hashlib.sha256()
    size = 0  # bytes of the types and labels
    for text, label in rows:
        types = len(type_ids)
        # setdefault numbers a new type and looks up an old one in a single step of the dict.
        tokens.extend([type_ids.setdefault(token, len(type_ids)) for token in split(text)])
        if label not in names:
            size += getsizeof(label)
        offsets.append(len(tokens))
        labels.append(names.setdefault(label, label))
        text_digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
        hashes.append(int.from_bytes(text_digest[:8], "little"))
        digest.update(text_digest + json.dumps(label).encode() + b"\n")
        size += sum(map(getsizeof, islice(reversed(type_ids), len(type_ids) - types)))
        entries = len(type_ids) + len(names) + len(labels)
        if size + 4 * len(tokens) + BYTES_PER_ENTRY * entries > max_memory_mib * 2**20:
            raise _too_large(place, len(labels), max_memory_mib)
    if len({type(label) for label in names}) > 1:  # a table whose labels are `1` and `good`: all of them are names
        labels = [str(label) for label in labels]
    return TokenizedCorpus(
        tokens=np.frombuffer(tokens, np.int32) if tokens else np.zeros(0, np.int32),
        offsets=np.frombuffer(offsets, np.int64),
        types=list(type_ids),
        labels=labels,
        text_hashes=np.frombuffer(hashes, np.uint64) if hashes else np.zeros(0, np.uint64),
        fingerprint=digest.hexdigest(),
    )


def segmented(
    corpus: TokenizedCorpus, codec: Codec, place: object = "the texts", max_memory_mib: int = MAX_MEMORY_MIB
) -> TokenizedCorpus:
    """Return the corpus with its types cut into the codec's tokens, which are then its types. If the types are tokens
    already, return it as it is.

    Raises:
        DataError: its tokens would take more than `max_memory_mib`, in MiB.
    """
    if codec.name != "bpe":
        return corpus
    encode = codec.piecewise()
    ids = [encode([piece]) for piece in corpus.types]
    lengths = np.array([len(each) for each in ids], dtype=np.int64)
    all_ids = np.array([id_ for each in ids for id_ in each], dtype=np.int32)
    starts = np.cumsum(lengths) - lengths  # of each type in `all_ids`
    tokens, offsets, total = [np.zeros(0, np.int32)], np.zeros_like(corpus.offsets), 0
    for row in range(0, len(corpus), AT_ONCE):
        rows = corpus.offsets[row : row + AT_ONCE + 1]
        pieces = corpus.tokens[rows[0] : rows[-1]]
        ends = np.cumsum(lengths[pieces])
        # Of each token, its place in `all_ids`: that of its piece, and its place in the piece.
        steps = np.arange(ends[-1] if len(ends) else 0) + np.repeat(
            starts[pieces] - ends + lengths[pieces], lengths[pieces]
        )
        tokens.append(all_ids[steps])
        offsets[row + 1 : row + AT_ONCE + 1] = total + np.append(0, ends)[rows[1:] - rows[0]]
        total += len(steps)
        if 4 * total > max_memory_mib * 2**20:
            raise _too_large(place, row + len(rows) - 1, max_memory_mib)
    return replace(corpus, tokens=np.concatenate(tokens), offsets=offsets, types=list(codec.vocabulary.tokens))


def _too_large(place: object, row: int, max_memory_mib: int) -> DataError:
    return DataError(
        f"{place}: its tokens need more than {max_memory_mib} MiB of memory, at row {row:,}; cut the table, or write a "
        "larger data.max_memory_mib"
    )


def cached(path: Path, build: Callable[[], TokenizedCorpus]) -> TokenizedCorpus:
    """Return the corpus kept at `path`. Where there is none, or a damaged one, `build` it and keep it there.

    The name of `path` must follow from all that `build` depends on (see `cache_name`).
    """
    try:
        return _read(path)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, ValueError) as error:
        print(f"The cache {path} is damaged ({error}); it is made anew.", file=sys.stderr)
    corpus = build()
    clear(path.parent)
    _write(corpus, path)
    return corpus


def cache_name(content_sha256: str, tokenizer: str) -> str:
    """Return the file name for the tokens of a text file with this SHA-256, cut by this tokenizer."""
    key = hashlib.sha256(json.dumps([FORMAT, content_sha256, tokenizer]).encode()).hexdigest()
    return f"tokens-{key[:32]}.arrow"


def _write(corpus: TokenizedCorpus, path: Path) -> None:
    """Write an Arrow stream: one row a document, its tokens as indices into a dictionary of the types. Its SHA-256
    follows, since Arrow may crash on a damaged file."""
    import pyarrow as pa

    # As bytes: Arrow's strings hold no lone surrogates, Python's may.
    types = pa.array([token.encode("utf-8", "surrogatepass") for token in corpus.types], pa.binary())
    words = pa.DictionaryArray.from_arrays(pa.array(corpus.tokens), types)
    table = pa.table(
        {
            "tokens": pa.LargeListArray.from_arrays(pa.array(corpus.offsets), words),
            "label": pa.array(corpus.labels),
            "text_hash": pa.array(corpus.text_hashes),
        },
        metadata={"fingerprint": corpus.fingerprint},
    )
    with replacing(path) as file:
        summed = _Summed(file)
        with pa.ipc.new_stream(summed, table.schema) as stream:
            stream.write_table(table)
        file.write(summed.digest.digest())


class _Summed:
    """A file to write, and the SHA-256 of what was written."""

    closed = False  # Arrow asks

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.digest = file, hashlib.sha256()

    def write(self, content: memoryview) -> int:
        self.digest.update(content)
        return self.file.write(content)


def _read(path: Path) -> TokenizedCorpus:
    """Map the file into memory, without a copy.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError, OSError: the file is damaged.
    """
    import pyarrow as pa

    with pa.memory_map(str(path)) as file:
        content = file.read_buffer()
    end = max(0, content.size - hashlib.sha256().digest_size)
    if hashlib.sha256(content.slice(0, end)).digest() != content.slice(end).to_pybytes():
        raise ValueError("its checksum is wrong")
    with pa.ipc.open_stream(content.slice(0, end)) as stream:
        table = stream.read_all()
    documents = table.column("tokens").combine_chunks()
    labels = table.column("label").combine_chunks().dictionary_encode()
    names = labels.dictionary.to_pylist()  # equal labels are one object
    return TokenizedCorpus(
        tokens=documents.values.indices.to_numpy(),
        offsets=documents.offsets.to_numpy(),
        types=[token.decode("utf-8", "surrogatepass") for token in documents.values.dictionary.to_pylist()],
        labels=[names[number] for number in labels.indices.to_pylist()],
        text_hashes=table.column("text_hash").to_numpy(),
        fingerprint=table.schema.metadata[b"fingerprint"].decode(),
    )
