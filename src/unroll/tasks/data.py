"""From a corpus to batches: tokens, splits, vocabulary, ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from unroll.batching.documents import Batch, BucketSampler, Documents, make_loader
from unroll.config import DocumentsConfig
from unroll.corpora.files import TextFile, read_rows
from unroll.corpora.imdb import find_corpus
from unroll.errors import DataError
from unroll.text.tokenized import TokenizedCorpus, cache_name, cached, tokenize
from unroll.text.vocabulary import UNKNOWN_ID, Vocabulary

EVALUATION_BATCH = 128  # documents; no gradients are kept, so more fit than in training

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Counts:
    """What was changed or noticed on the way from the files to the batches, in documents."""

    shortened: int  # to data.max_tokens
    empty: int  # without a single token; they are read as one <unk>
    duplicates: int  # training texts that stand there more than once; all copies stay on one side of a split
    test_in_train: int  # test texts that stand in the training data as well


class ClassificationData(LightningDataModule):
    """Labelled documents in three splits, and the vocabulary of the training split."""

    def __init__(self, config: DocumentsConfig, seed: int) -> None:
        """Read, tokenise (or take from the cache), split and encode the corpus that `config` asks for.

        Raises:
            DataError: the corpus can't be had, or can't be trained on; the message names file and remedy.
        """
        super().__init__()
        self.config, self.seed = config, seed
        self.position = 0, 0  # the epoch that training begins with, and the batch in it
        corpus = find_corpus(config.source, Path(config.path) if config.path else None, Path(config.folder))
        self.source, self.origin = corpus.source, corpus.origin
        train_file, test_file = corpus.train, corpus.test
        train = load_tokens(train_file, config)
        test = load_tokens(test_file, config) if test_file else None
        self.fingerprint = train.fingerprint
        self.labels, train_labels = _number_labels(train.labels, corpus.label_names, train_file.path)
        random = np.random.default_rng(seed)
        rows = np.arange(len(train))
        if test is None:
            rows, test_rows = split_off(rows, train_labels, train.text_hashes, config.test_fraction, random)
        train_rows, val_rows = split_off(rows, train_labels, train.text_hashes, config.val_fraction, random)
        if config.limit is not None:
            train_rows = sample(train_rows, train_labels, config.limit, random)
        _check_splits(train_rows, val_rows, train_labels, self.labels, train_file.path)
        self.vocabulary = build_vocabulary(train, train_rows, config)
        ids = encode(train, self.vocabulary)
        self.train = select(train, ids, train_rows, train_labels, config)
        self.val = select(train, ids, val_rows, train_labels, config)
        if test is None:
            self.test = select(train, ids, test_rows, train_labels, config)
        else:
            assert test_file is not None
            test_labels = label_ids(test.labels, self.labels, test_file.path)
            self.test = select(test, encode(test, self.vocabulary), np.arange(len(test)), test_labels, config)
        self.test_is_held_out = test is None
        self.counts = self._count(train, test)

    def _count(self, train: TokenizedCorpus, test: TokenizedCorpus | None) -> Counts:
        corpora = [train] if test is None else [train, test]
        lengths = np.concatenate([np.diff(corpus.offsets) for corpus in corpora])
        return Counts(
            shortened=0 if self.config.max_tokens is None else int((lengths > self.config.max_tokens).sum()),
            empty=int((lengths == 0).sum()),
            duplicates=len(train) - len(np.unique(train.text_hashes)),
            test_in_train=0 if test is None else int(np.isin(test.text_hashes, train.text_hashes).sum()),
        )

    def describe(self) -> dict[str, object]:
        """Return what `summary.json` says of the data."""
        return {
            "source": self.source,
            "origin": self.origin,
            "fingerprint": self.fingerprint,
            "train": len(self.train),
            "val": len(self.val),
            "test": len(self.test),
            "test_split": "held out of train" if self.test_is_held_out else "the corpus's own",
            "vocabulary": len(self.vocabulary),
            **asdict(self.counts),
        }

    def train_dataloader(self) -> DataLoader[Batch]:
        sampler = BucketSampler(
            self.train.lengths,
            batch_size=self.config.batch_size,
            token_budget=self.config.token_budget,
            noise=self.config.bucket_noise,
            seed=self.seed,
        )
        sampler.set_epoch(*self.position)
        return make_loader(self.train, sampler, self.config.workers)

    def val_dataloader(self) -> DataLoader[Batch]:
        return evaluation_loader(self.val)

    def test_dataloader(self) -> DataLoader[Batch]:
        return evaluation_loader(self.test)


def evaluation_loader(documents: Documents) -> DataLoader[Batch]:
    """Return a loader in the order of the lengths, the same each time."""
    return make_loader(documents, BucketSampler(documents.lengths, batch_size=EVALUATION_BATCH))


def load_tokens(file: TextFile, config: DocumentsConfig) -> TokenizedCorpus:
    """Return the tokens of a file, from the cache where its content has been tokenised before."""
    path = Path(config.folder) / "cache" / cache_name(file.sha256(), config.tokenizer)
    return cached(path, lambda: tokenize(read_rows(file), config.tokenizer))


def build_vocabulary(corpus: TokenizedCorpus, rows: Rows, config: DocumentsConfig) -> Vocabulary:
    """Count the words of `rows` alone: a word of the validation split only is as unknown as it will be in use."""
    chosen = np.zeros(len(corpus), dtype=bool)
    chosen[rows] = True
    tokens = corpus.tokens[np.repeat(chosen, np.diff(corpus.offsets))]
    counts = np.bincount(tokens, minlength=len(corpus.types)).tolist()
    seen = {word: count for word, count in zip(corpus.types, counts, strict=True) if count}
    return Vocabulary.build(seen, min_freq=config.min_freq, max_size=config.max_size)


def encode(corpus: TokenizedCorpus, vocabulary: Vocabulary) -> npt.NDArray[np.int32]:
    """Return the vocabulary's ids of all tokens, and one `<unk>` after them for the documents that have none."""
    ids_of_types = np.array([*vocabulary.encode(corpus.types), UNKNOWN_ID], dtype=np.int32)
    return ids_of_types[np.append(corpus.tokens, np.int32(len(corpus.types)))]


def select(
    corpus: TokenizedCorpus,
    ids: npt.NDArray[np.int32],
    rows: Rows,
    labels: npt.NDArray[np.int64],
    config: DocumentsConfig,
) -> Documents:
    """Return the documents `rows` of what `encode` gave, shortened to `max_tokens`."""
    full = np.diff(corpus.offsets)[rows]
    lengths = full if config.max_tokens is None else np.minimum(full, config.max_tokens)
    starts = corpus.offsets[:-1][rows] + (full - lengths if config.keep == "end" else 0)
    return Documents(ids, np.where(full == 0, len(ids) - 1, starts), np.maximum(lengths, 1), labels[rows])


def words(documents: Documents, row: int, vocabulary: Vocabulary) -> str:
    """Return document `row` as its words, as the model sees it."""
    ids = documents.ids[documents.starts[row] : documents.starts[row] + documents.lengths[row]]
    return " ".join(vocabulary.decode(ids.tolist()))


def split_off(
    rows: Rows,
    labels: npt.NDArray[np.int64],
    hashes: npt.NDArray[np.uint64],
    fraction: float,
    random: np.random.Generator,
) -> tuple[Rows, Rows]:
    """Split `rows` in two, the second with about `fraction` of each class; equal texts stay together.

    Returns the two parts, each in ascending order.
    """
    order = random.permutation(rows)
    # Each text counts by its first copy; the others follow it.
    _, first, group = np.unique(hashes[order], return_index=True, return_inverse=True)
    chosen = np.zeros(len(first), dtype=bool)
    group_labels = labels[order[first]]
    by_draw = np.argsort(first)  # groups in the order drawn
    for label in np.unique(group_labels):
        groups = by_draw[group_labels[by_draw] == label]
        chosen[groups[: max(1, round(len(groups) * fraction))]] = True
    second = chosen[group]
    return np.sort(order[~second]), np.sort(order[second])


def sample(rows: Rows, labels: npt.NDArray[np.int64], size: int, random: np.random.Generator) -> Rows:
    """Return `size` of `rows`, or all if there are fewer, with the classes in the proportions that they have there."""
    if size >= len(rows):
        return rows
    order = random.permutation(rows)
    rank = np.empty(len(order))
    for label in np.unique(labels[order]):
        places = np.flatnonzero(labels[order] == label)
        rank[places] = (np.arange(len(places)) + 0.5) / len(places)  # every prefix by rank is proportional
    return np.sort(order[np.argsort(rank, kind="stable")[:size]])


def _number_labels(
    labels: Sequence[int | str], names: tuple[str, ...] | None, path: Path
) -> tuple[tuple[str, ...], npt.NDArray[np.int64]]:
    """Return the class names and each label's number. Unnamed integers are named by their digits."""
    distinct = sorted(set(labels), key=lambda label: (isinstance(label, str), label))
    if len(distinct) < 2:
        raise DataError(f"{path}: every row has the label {distinct[0]!r}; a classifier needs two classes or more")
    if names is None:
        names = tuple(str(label) for label in distinct)
        order = {label: number for number, label in enumerate(distinct)}
        return names, np.array([order[label] for label in labels], dtype=np.int64)
    return names, label_ids(labels, names, path)


def label_ids(labels: Sequence[int | str], names: Sequence[str], path: Path) -> npt.NDArray[np.int64]:
    """Return each label's number in `names`. A label is a name or, where it is none, an index into them.

    Raises:
        DataError: a label is neither; the message names file and row.
    """
    numbers: dict[int | str, int] = {number: number for number in range(len(names))}
    numbers |= {int(name): number for number, name in enumerate(names) if name.isdecimal()}
    numbers |= {name: number for number, name in enumerate(names)}
    for row, label in enumerate(labels, 1):
        if label not in numbers:
            raise DataError(f"{path}: row {row} has the label {label!r}; the labels are {', '.join(names)}")
    return np.array([numbers[label] for label in labels], dtype=np.int64)


def _check_splits(train: Rows, val: Rows, labels: npt.NDArray[np.int64], names: Sequence[str], path: Path) -> None:
    for rows, split in ((train, "training"), (val, "validation")):
        missing = [name for number, name in enumerate(names) if number not in labels[rows]]
        if missing:
            raise DataError(
                f"{path}: no row labelled {missing[0]!r} is left in the {split} split; add rows of that label, "
                "or change data.val_fraction, data.test_fraction or data.limit"
            )
