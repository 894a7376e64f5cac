"""From labelled texts to batches: finds, splits, tokenises and encodes a corpus by its settings."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor
from torch.utils.data import DataLoader

from unroll import ranks
from unroll.batching.documents import Batch, BucketSampler, Documents, narrow
from unroll.batching.loader import ResumableLoader
from unroll.batching.mixed import MixedBatch, MixedDocuments, MixedSampler
from unroll.config import ClassificationConfig, PretrainingConfig
from unroll.corpora.files import UNLABELLED, TextFile
from unroll.corpora.labelled import LabelledCorpus
from unroll.corpora.labels import label_ids, lookalikes, number_labels
from unroll.corpora.splits import (
    Copies,
    Hashes,
    Rows,
    all_rows,
    among,
    check_splits,
    class_sizes,
    find_copies,
    sample,
    split_off,
)
from unroll.errors import DataError
from unroll.shown import shown
from unroll.tasks.data import LAGS, STRETCHES, TaskData
from unroll.tasks.documents import cache_of, corpus_of, encode, learn_codec, load_tokens, select
from unroll.text.codec import Codec
from unroll.text.tokenized import TokenizedCorpus, segmented
from unroll.text.vocabulary import UNKNOWN_ID, Vocabulary

EVALUATION_BATCH = 128  # documents; no gradients are kept, so more fit than in training
FEW = 10  # training documents: a class with fewer is hardly learnt
MANY_UNKNOWN = 0.2  # of the tokens: with more, the vocabulary does not fit the text
MOST_SHOWN = 20  # classes


@dataclass(frozen=True)
class Counts:
    """How many documents were changed, or deserve a note."""

    shortened: int  # to data.max_length
    empty: int  # without a single token; they are read as one <unk>
    duplicates: int  # copies of training texts; all copies of a text are in one split
    test_in_train: int  # test texts that are in the training data as well


class ClassificationData(TaskData):
    """Labelled documents in three splits, and the vocabulary of the training split."""

    labels: tuple[str, ...]
    codec: Codec
    vocabulary: Vocabulary  # the codec's
    train: Documents
    val: Documents
    test: Documents
    unlabelled: Documents | None  # texts without labels, copies of validation and test texts left out
    counts: Counts

    def __init__(self, config: ClassificationConfig | PretrainingConfig) -> None:
        super().__init__()
        self.config, self.seed = config.data, config.seed
        self._loaded: dict[TextFile, TokenizedCorpus] = {}  # until it is set up
        self._is_set_up = False

    def prepare_data(self) -> None:
        """Fetch the corpus and keep its tokens on disk.

        Raises:
            DataError: the corpus can't be fetched or read; the message names file and remedy.
        """
        for file in filter(None, (self._corpus.train, self._corpus.test, self._corpus.unlabelled)):
            self._tokens(file)

    @cached_property
    def _corpus(self) -> LabelledCorpus:
        return corpus_of(self.config)

    def _tokens(self, file: TextFile) -> TokenizedCorpus:
        """The tokens of a file, which this process checks and maps once."""
        if file not in self._loaded:
            self._loaded[file] = load_tokens(file, self.config)
        return self._loaded[file]

    def setup(self, stage: str | None = None) -> None:
        """Split and encode the corpus.

        Raises:
            DataError: it can't be trained on; the message names file and remedy.
        """
        if self._is_set_up:
            return
        config, corpus, train_file = self.config, self._corpus, self._corpus.train
        self.source, self.origin = corpus.source, corpus.origin
        train = self._tokens(train_file)
        test = self._tokens(corpus.test) if corpus.test else None
        self.fingerprint = train.fingerprint
        self.labels, numbers = number_labels(train.label_values, corpus.label_names, train_file)
        copies = find_copies(train.text_hashes)
        train.give_back()
        labels = narrow(label_ids(train.label_values, self.labels, train_file, numbers=numbers))[train.labels]
        random = np.random.default_rng(self.seed)
        block_size = config.block_size if config.split == "blocks" else 1
        rows = all_rows(len(train))
        if test is None:
            rows, test_rows = split_off(rows, labels, copies, config.test_fraction, random, block_size)
        train_rows, val_rows = split_off(rows, labels, copies, config.val_fraction, random, block_size)
        if config.limit is not None:
            train_rows = sample(train_rows, labels, config.limit, random)
        check_splits(train_rows, val_rows, labels, self.labels, train_file)
        train.give_back()
        counted = [(train, train_rows)]
        if corpus.unlabelled is not None:
            test_hashes = train.text_hashes[test_rows] if test is None else test.text_hashes
            held_out = np.concatenate([train.text_hashes[val_rows], test_hashes])
            counted.append(self._without_labels(corpus.unlabelled, held_out))
        self.codec = learn_codec(counted, config)
        self.vocabulary = self.codec.vocabulary
        train = segmented(train, self.codec, cache_of(config))
        ids = encode(train, self.vocabulary)
        self.train, self.val = (select(train, ids, part, labels, config) for part in (train_rows, val_rows))
        if corpus.test is None or test is None:
            self.test = select(train, ids, test_rows, labels, config)
        else:
            first_rows = np.unique(test.labels, return_index=True)[1] + 1
            test_numbers = label_ids(test.label_values, self.labels, corpus.test, first_rows.tolist(), numbers)
            test = segmented(test, self.codec, cache_of(config))
            test_labels = narrow(test_numbers)[test.labels]
            self.test = select(test, encode(test, self.vocabulary), all_rows(len(test)), test_labels, config)
        self.test_is_held_out = test is None
        self.counts = self._count(train, test, copies)
        self.unlabelled = None
        for others, others_rows in counted[1:]:
            others = segmented(others, self.codec, cache_of(config))
            none = narrow(np.full(len(others), UNLABELLED))
            self.unlabelled = select(others, encode(others, self.vocabulary), others_rows, none, config)
        self._loaded.clear()
        self._is_set_up = True

    def _without_labels(self, file: TextFile, held_out: Hashes) -> tuple[TokenizedCorpus, Rows]:
        """The texts of a file, and the rows of those whose hashes are not `held_out`."""
        corpus = self._tokens(file)
        rows = all_rows(len(corpus))[~among(corpus.text_hashes, np.sort(held_out))]
        if not len(rows):
            raise DataError(f"{file}: every text is in the validation or test split as well; add other texts")
        self.copies_left_out = len(corpus) - len(rows)
        self.fingerprint = hashlib.sha256(f"{self.fingerprint} {corpus.fingerprint}".encode()).hexdigest()
        return corpus, rows

    def _count(self, train: TokenizedCorpus, test: TokenizedCorpus | None, copies: Copies) -> Counts:
        shortened = empty = 0
        for corpus in (train, test) if test else (train,):
            for rows in corpus.blocks():
                lengths = np.diff(corpus.offsets[rows.start : rows.stop + 1])
                shortened += int((lengths > (self.config.max_length or np.inf)).sum())
                empty += int((lengths == 0).sum())
        return Counts(
            shortened=shortened,
            empty=empty,
            duplicates=copies.repeats,
            test_in_train=0 if test is None else int(among(test.text_hashes, np.sort(train.text_hashes)).sum()),
        )

    def describe(self) -> dict[str, Any]:
        return super().describe() | {
            "test_split": "held out of train" if self.test_is_held_out else "the corpus's own",
            "classes": dict(zip(self.labels, self.class_counts.tolist(), strict=True)),
            "vocabulary": len(self.vocabulary),
            "unknown_tokens": round(self.unknown_share, 4),
            **asdict(self.counts),
            **({} if self.unlabelled is None else {"unlabelled": len(self.unlabelled)}),
        }

    def about(self) -> dict[str, Any]:
        return self.codec.about() | {"labels": list(self.labels)}

    @property
    def class_counts(self) -> npt.NDArray[np.int64]:
        """Training documents of each class."""
        return class_sizes(self.train.labels, len(self.labels))

    @cached_property
    def unknown_share(self) -> float:
        """Share of the validation split's tokens that the vocabulary does not hold."""
        unknown = sum(int((ids == UNKNOWN_ID).sum()) for ids in self.val.together())
        return unknown / int(self.val.lengths.sum())

    def report(self) -> list[str]:
        counts, config = self.counts, self.config
        names = [shown(label, longest=80) for label in self.labels]
        classes = sorted(zip(names, self.class_counts.tolist(), strict=True), key=lambda each: -each[1])
        largest = ", ".join(f"{name} {count:,}" for name, count in classes[:MOST_SHOWN])
        more = f", and {len(classes) - MOST_SHOWN} more" if len(classes) > MOST_SHOWN else ""
        few = [name for name, count in classes if count < FEW]
        unknown = self.unknown_share
        notes = {
            **dict.fromkeys(self._corpus.notes, True),
            f"{counts.shortened:,} documents are truncated to data.max_length={config.max_length} tokens, at their "
            f"{config.truncate}": counts.shortened,
            f"{counts.empty:,} documents hold no word and are read as one <unk>": counts.empty,
            f"{counts.duplicates:,} repeated texts stay on one side of each split": counts.duplicates,
            f"{counts.test_in_train:,} test texts are in the training data as well": counts.test_in_train,
            "the corpus has no test split: one is held out of train": self.test_is_held_out,
            f"warning: {len(few)} classes have fewer than {FEW} training documents ({', '.join(few[:5])}); add rows, "
            "or leave these classes out": few,
            f"warning: {unknown:.0%} of the validation split's tokens are unknown; lower data.min_freq, or check the "
            "text's language and data.tokenizer": unknown > MANY_UNKNOWN,
        }
        for one, other in lookalikes(self.labels):
            notes[
                f"warning: the classes {one!r:.80} and {other!r:.80} look alike; if they are one, give them one name"
            ] = True
        unlabelled = []
        if self.unlabelled is not None:
            left = f"; {self.copies_left_out:,} copies of validation or test texts are left out"
            unlabelled = [f"without labels: {len(self.unlabelled):,}{left if self.copies_left_out else ''}"]
        return [
            f"documents: {len(self.train):,} train, {len(self.val):,} val, {len(self.test):,} test; "
            f"{len(self.vocabulary):,} {self.codec.rule.unit}",
            *unlabelled,
            f"classes: {largest}{more}",
            *(f"  {note}" for note, applies in notes.items() if applies),
        ]

    def probe_rows(self) -> Tensor | None:
        lags = min(LAGS, int(self.val.lengths.max()))
        return self.val[np.flatnonzero(self.val.lengths >= lags)[:STRETCHES].tolist()].ids[:, :lags]

    def train_dataloader(self) -> DataLoader[Batch] | DataLoader[MixedBatch]:
        config = self.config
        sampler = self._sampler(self.train, config.batch_size, config.max_tokens)
        if self.unlabelled is None or config.unlabelled_batch_size is None:
            return ResumableLoader(shared(self.train), sampler, config.workers)
        others = self._sampler(self.unlabelled, config.unlabelled_batch_size)
        documents = MixedDocuments(shared(self.train), shared(self.unlabelled))
        return ResumableLoader(documents, MixedSampler(sampler, others), config.workers)

    def _sampler(self, documents: Documents, batch_size: int | None, max_tokens: int | None = None) -> BucketSampler:
        noise = self.config.padding_noise
        return BucketSampler(
            documents.lengths, batch_size=batch_size, max_tokens=max_tokens, noise=noise, seed=self.seed
        )

    def val_dataloader(self) -> DataLoader[Batch]:
        return evaluation_loader(self.val)

    def test_dataloader(self) -> DataLoader[Batch]:
        return evaluation_loader(self.test)


def evaluation_loader(documents: Documents) -> DataLoader[Batch]:
    """Return a loader in the order of the lengths, the same each time."""
    return ResumableLoader(shared(documents), BucketSampler(documents.lengths, batch_size=EVALUATION_BATCH))


def shared(documents: Documents) -> Documents:
    """Return documents of whose batches this process has its part."""
    return replace(documents, rank=ranks.rank(), world_size=ranks.world_size())
