"""Batches of labelled documents, each with a batch of documents without labels beside it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from torch.utils.data import Dataset

from unroll.batching.documents import Batch, BucketSampler, Documents
from unroll.batching.loader import EpochSampler

Rows = tuple[list[int], list[int]]
"""The rows of a batch: those with labels, and those without."""


class MixedBatch(NamedTuple):
    """Labelled documents, and others whose labels mean nothing."""

    labelled: Batch
    unlabelled: Batch

    @property
    def num_tokens(self) -> int:
        """The tokens of both, without padding."""
        return self.labelled.num_tokens + self.unlabelled.num_tokens

    @property
    def num_examples(self) -> int:
        """The labelled documents."""
        return self.labelled.num_examples


@dataclass(frozen=True)
class MixedDocuments(Dataset[MixedBatch]):
    """Documents of both kinds, by the rows that `MixedSampler` yields."""

    labelled: Documents
    unlabelled: Documents

    def __getitem__(self, rows: Rows) -> MixedBatch:
        labelled, unlabelled = rows
        return MixedBatch(self.labelled[labelled], self.unlabelled[unlabelled])


class MixedSampler(EpochSampler[Rows]):
    """The batches of two samplers side by side. An epoch is one of the first sampler's.

    The second's epochs follow each other without regard to the first's, so all of its documents have their turn before
    one of them has another. Which they are depends on the epoch, its length and the place in it alone.
    """

    def __init__(self, labelled: BucketSampler, unlabelled: BucketSampler) -> None:
        self.labelled, self.unlabelled = labelled, unlabelled

    def __len__(self) -> int:
        return len(self.labelled)

    def __iter__(self) -> Iterator[Rows]:
        self.labelled.set_epoch(self.epoch, self.start)
        before = self.epoch * len(self) + self.start  # batches since the run began
        return zip(self.labelled, self._from(before), strict=False)

    def _from(self, batch: int) -> Iterator[list[int]]:
        """Yield the second sampler's batches without end, from the one of this number on."""
        epoch, start = divmod(batch, len(self.unlabelled))
        while True:
            self.unlabelled.set_epoch(epoch, start)
            yield from self.unlabelled
            epoch, start = epoch + 1, 0
