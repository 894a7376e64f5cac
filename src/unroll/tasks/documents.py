"""Labelled texts by their settings: found, tokenised, and selected as documents of ids."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np

from unroll import progress
from unroll.batching.documents import Documents, LookedUp, narrow
from unroll.config import ClassificationDataConfig
from unroll.corpora.files import TextFile, read_rows
from unroll.corpora.labelled import LabelledCorpus, find_corpus
from unroll.corpora.splits import CHUNK, Rows, Whole
from unroll.errors import DataError
from unroll.text.codec import Codec
from unroll.text.tokenized import TokenizedCorpus, cache_name, cached, tokenize
from unroll.text.vocabulary import UNKNOWN_ID, Vocabulary


def corpus_of(config: ClassificationDataConfig) -> LabelledCorpus:
    """Return the corpus that the settings ask for, its files on this machine; see `find_corpus`."""
    find = partial(
        find_corpus,
        config.source,
        Path(config.path) if config.path else None,
        Path(config.folder),
        hub=config.hub,
        text_column=config.text_column,
        label_column=config.label_column,
        encoding=config.encoding,
        labels=config.labels,
        max_characters=config.max_characters,
    )
    if config.unlabelled == "none":
        return find()
    try:
        return find(unlabelled=True)
    except DataError as error:
        if config.unlabelled == "required":
            raise
        corpus = find()
        return replace(corpus, notes=(*corpus.notes, f"without unlabelled texts: {error}"))


def load_tokens(file: TextFile, config: ClassificationDataConfig) -> TokenizedCorpus:
    """Return the tokens of a file, from the cache where its content has been tokenised before."""
    path = cache_of(config) / cache_name(file.sha256(), config.tokenizer)

    def build(out: BinaryIO) -> TokenizedCorpus:
        progress.say(f"tokenising {file}; the tokens are kept in {path.parent}")
        return tokenize(read_rows(file), config.tokenizer, file, config.max_memory_mib, out, path.parent)

    return cached(path, build)


def cache_of(config: ClassificationDataConfig) -> Path:
    """Return the folder of tokens on disk."""
    return Path(config.folder) / "cache"


def learn_codec(corpora: Sequence[tuple[TokenizedCorpus, Rows]], config: ClassificationDataConfig) -> Codec:
    """Learn from some rows of each corpus alone: a word that only other splits hold is unknown, as a new word is in
    use."""
    seen: Counter[str] = Counter()
    for corpus, rows in corpora:
        chosen = np.zeros(len(corpus), dtype=bool)
        chosen[rows] = True
        counts = np.zeros(len(corpus.types), dtype=np.int64)
        for block in corpus.blocks():  # bincount makes 64-bit numbers of the tokens
            bounds = corpus.offsets[block.start : block.stop + 1]
            is_counted = np.repeat(chosen[block], np.diff(bounds))
            counts += np.bincount(corpus.tokens[bounds[0] : bounds[-1]][is_counted], minlength=len(counts))
        seen.update({word: count for word, count in zip(corpus.types, counts.tolist(), strict=True) if count})
    return Codec.learn(config.tokenizer, seen, config.min_freq, config.max_size)


def encode(corpus: TokenizedCorpus, vocabulary: Vocabulary) -> LookedUp:
    """Return the vocabulary's ids of all tokens, which stay on disk, and one `<unk>` after them for the documents that
    have none."""
    return LookedUp(corpus.tokens, np.array([*vocabulary.encode(corpus.types), UNKNOWN_ID], dtype=np.int32))


def select(
    corpus: TokenizedCorpus,
    ids: LookedUp,
    rows: Rows,
    labels: Whole,
    config: ClassificationDataConfig,
) -> Documents:
    """Return the documents `rows` of what `encode` gave, truncated to `max_length`. `labels` are those of all rows."""
    most = config.max_length or np.iinfo(np.int64).max
    starts, lengths = (np.empty(len(rows), np.min_scalar_type(len(ids))) for _ in range(2))
    for first in range(0, len(rows), CHUNK):
        some = slice(first, first + CHUNK)
        begins, ends = (corpus.offsets[rows[some] + place] for place in (0, 1))
        kept = np.minimum(ends - begins, most)
        starts[some] = np.where(kept == 0, len(ids) - 1, ends - kept if config.truncate == "start" else begins)
        lengths[some] = np.maximum(kept, 1)
    corpus.give_back()
    return Documents(ids, starts, narrow(lengths), labels[rows])


def words(documents: Documents, row: int, codec: Codec) -> str:
    """Return the text of document `row`, as the model sees it."""
    return codec.decode(documents.document(row).tolist())
