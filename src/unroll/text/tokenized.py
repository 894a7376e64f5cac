"""A tokenised text corpus as flat arrays, and its cache on disk."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from unroll.durable import clear, replacing
from unroll.text.tokenizers import get_tokenizer

FORMAT = 3  # raise it when what `tokenize` gives for the same text changes: old caches are then left aside


@dataclass(frozen=True)
class TokenizedCorpus:
    """Labelled documents, tokenised; document i is `types[tokens[offsets[i]:offsets[i + 1]]]`.

    It knows every type of its text and no vocabulary, so one cache serves every vocabulary and every split of it.
    """

    tokens: npt.NDArray[np.int32]  # (all tokens,), indices into `types`
    offsets: npt.NDArray[np.int64]  # (documents + 1,)
    types: list[str]  # distinct tokens, in the order of their first appearance
    labels: list[int | str]  # (documents,), all of one type
    text_hashes: npt.NDArray[np.uint64]  # (documents,), equal for equal texts
    fingerprint: str  # SHA-256 of all texts and labels in their order

    def __len__(self) -> int:
        return len(self.labels)


def tokenize(rows: Iterable[tuple[str, int | str]], tokenizer: str) -> TokenizedCorpus:
    """Tokenise (text, label) rows, one at a time: the texts are not kept."""
    split = get_tokenizer(tokenizer)
    type_ids: dict[str, int] = {}
    chunks: list[npt.NDArray[np.int32]] = []
    labels: list[int | str] = []
    hashes: list[int] = []
    digest = hashlib.sha256()
    for text, label in rows:
        # setdefault numbers a new type and looks up an old one in a single step of the dict.
        ids = [type_ids.setdefault(token, len(type_ids)) for token in split(text)]
        chunks.append(np.array(ids, dtype=np.int32))
        labels.append(label)
        text_digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
        hashes.append(int.from_bytes(text_digest[:8], "little"))
        digest.update(text_digest + json.dumps(label).encode() + b"\n")
    if len({type(label) for label in labels}) > 1:  # a table whose labels are `1` and `good`: all of them are names
        labels = [str(label) for label in labels]
    offsets = np.zeros(len(chunks) + 1, dtype=np.int64)
    np.cumsum([len(chunk) for chunk in chunks], out=offsets[1:])
    return TokenizedCorpus(
        tokens=np.concatenate(chunks) if chunks else np.zeros(0, dtype=np.int32),
        offsets=offsets,
        types=list(type_ids),
        labels=labels,
        text_hashes=np.array(hashes, dtype=np.uint64),
        fingerprint=digest.hexdigest(),
    )


def cached(path: Path, build: Callable[[], TokenizedCorpus]) -> TokenizedCorpus:
    """Return the corpus kept at `path`; where there is none, or a damaged one, `build` it and keep it there.

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
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    content = sink.getvalue()
    with replacing(path) as file:
        file.write(content)
        file.write(hashlib.sha256(content).digest())


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
    return TokenizedCorpus(
        tokens=documents.values.indices.to_numpy(),
        offsets=documents.offsets.to_numpy(),
        types=[token.decode("utf-8", "surrogatepass") for token in documents.values.dictionary.to_pylist()],
        labels=table.column("label").to_pylist(),
        text_hashes=table.column("text_hash").to_numpy(),
        fingerprint=table.schema.metadata[b"fingerprint"].decode(),
    )
