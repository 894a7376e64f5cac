"""Documents of unequal length as one flat array, and batches of like length drawn from it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from unroll.text.vocabulary import PAD_ID


class Batch(NamedTuple):
    """Right-padded documents."""

    ids: Tensor  # (batch, time) int64, `PAD_ID` beyond each row's length
    lengths: Tensor  # (batch,) int64, in tokens, at least 1
    labels: Tensor  # (batch,) int64

    @property
    def num_tokens(self) -> int:
        """Tokens read, padding not counted."""
        return int(self.lengths.sum())

    @property
    def num_examples(self) -> int:
        """What a mean over the batch is a mean of: documents."""
        return len(self.labels)


@dataclass(frozen=True)
class Documents(Dataset[Batch]):
    """Labelled documents: document i is `ids[starts[i]:starts[i] + lengths[i]]`."""

    ids: npt.NDArray[np.int32]  # (all tokens,)
    starts: npt.NDArray[np.int64]  # (documents,)
    lengths: npt.NDArray[np.int64]  # (documents,), at least 1
    labels: npt.NDArray[np.int64]  # (documents,)

    def __len__(self) -> int:
        return len(self.lengths)

    def document(self, row: int) -> npt.NDArray[np.int32]:
        """Return the ids of one document, (its length,)."""
        return self.ids[self.starts[row] : self.starts[row] + self.lengths[row]]

    def __getitem__(self, rows: Sequence[int]) -> Batch:
        """Gather the documents `rows` into one batch, without a loop over them."""
        lengths = self.lengths[rows]
        steps = np.arange(lengths.max())
        inside = steps < lengths[:, None]
        # Positions beyond a document's end are read from its start, which is always there, and then overwritten.
        places = self.starts[rows][:, None] + np.where(inside, steps, 0)
        ids = np.where(inside, self.ids[places], PAD_ID).astype(np.int64)
        return Batch(torch.from_numpy(ids), torch.from_numpy(lengths), torch.from_numpy(self.labels[rows]))


class BucketSampler(Sampler[list[int]]):
    """Batches of documents of like length, in an order that is a function of (seed, epoch) alone.

    Documents are sorted by their length times a random factor in [1 - noise, 1 + noise], cut into batches in that
    order, and the batches are shuffled: little padding, yet each epoch's batches differ. Their number does not, so
    that schedules and progress are exact. Without a seed the order is that of the lengths, shortest first.
    """

    def __init__(
        self,
        lengths: npt.NDArray[np.int64],
        *,
        batch_size: int | None = None,
        max_tokens: int | None = None,
        noise: float = 0.0,
        seed: int | None = None,
    ) -> None:
        """Make batches of `batch_size` documents, or of at most `max_tokens` tokens, padding counted.

        A document longer than the budget makes a batch of its own.

        Raises:
            ValueError: not exactly one of `batch_size` and `max_tokens` is given, it is below 1, or noise is not in
                [0, 1).
        """
        if (batch_size is None) == (max_tokens is None):
            raise ValueError("give either batch_size or max_tokens")
        if (batch_size or max_tokens or 0) < 1:
            raise ValueError("batch_size and max_tokens must be at least 1")
        if not 0 <= noise < 1:
            raise ValueError(f"noise must be at least 0 and below 1, not {noise}")
        self.lengths, self.noise, self.seed = lengths, noise if seed is not None else 0.0, seed
        self.epoch, self.start = 0, 0
        if batch_size is not None:
            self._cuts = list(range(batch_size, len(lengths), batch_size))
        elif max_tokens is not None:
            self._cuts = self._cuts_within(max_tokens)

    def _cuts_within(self, max_tokens: int) -> list[int]:
        """Places to cut any epoch's order at, such that no batch of several documents exceeds the budget.

        The noise makes the i-th document of an epoch's order at most (1 + noise) / (1 - noise) times as long as the
        i-th in the order of the true lengths.
        """
        longest = np.sort(self.lengths) * ((1 + self.noise) / (1 - self.noise))
        longest = np.minimum(longest, self.lengths.max(initial=0))
        cuts, start = [], 0
        for i, length in enumerate(longest.tolist()):
            if i > start and length * (i + 1 - start) > max_tokens:
                cuts.append(i)
                start = i
        return cuts

    def set_epoch(self, epoch: int, start: int | None = None) -> None:
        """Choose the epoch whose batches come next, and the first of them; see `EpochSampler`."""
        self.start = start if start is not None else self.start if epoch == self.epoch else 0
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self._cuts) + 1 if len(self.lengths) else 0

    def __iter__(self) -> Iterator[list[int]]:
        if self.seed is None:
            order = np.argsort(self.lengths, kind="stable")
            turns = np.arange(len(self))
        else:
            random = np.random.default_rng([self.seed, self.epoch])
            order = random.permutation(len(self.lengths))  # documents of equal length meet in a new order each time
            keys = (self.lengths * random.uniform(1 - self.noise, 1 + self.noise, len(self.lengths)))[order]
            order = order[np.argsort(keys, kind="stable")]
            turns = random.permutation(len(self))
        batches = np.split(order, self._cuts)
        for turn in turns[self.start :]:
            yield batches[turn].tolist()
