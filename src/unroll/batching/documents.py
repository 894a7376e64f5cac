"""Documents of different lengths in one flat array, and batches of documents of similar length."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from unroll.batching.loader import EpochSampler
from unroll.batching.part import Part
from unroll.corpora.splits import Whole, all_rows
from unroll.text import mapped
from unroll.text.vocabulary import PAD_ID

MANY = 4096  # documents whose ids are taken together
SMALL = 2**26  # bytes: a file of tokens that may stay in memory
AT_ONCE = 2**18  # documents that are put in order together

Floats = npt.NDArray[np.float64]


class Batch(NamedTuple):
    """Right-padded documents."""

    ids: Tensor  # (batch, time) int64, `PAD_ID` beyond each row's length
    lengths: Tensor  # (batch,) int64, in tokens, at least 1
    labels: Tensor  # (batch,) int64
    part: Part | None = None  # of the documents, where several processes share them

    @property
    def num_tokens(self) -> int:
        """The tokens of the whole batch, without padding."""
        return int(self.lengths.sum()) if self.part is None else self.part.num_tokens

    @property
    def num_examples(self) -> int:
        """The documents of the whole batch; its mean loss is over these."""
        return len(self.labels) if self.part is None else self.part.num_examples


class Ids(Protocol):
    """One long row of ids, (all tokens,): an array, or what gives parts of one when they are asked for."""

    def __len__(self) -> int: ...

    def __getitem__(self, places: Any, /) -> npt.NDArray[np.int32]:
        """Return the ids at some places, an array of any shape or a slice."""
        ...


@dataclass(frozen=True)
class LookedUp:
    """The ids of tokens that stay where they are, such as on disk: `lookup[tokens]`. The memory of what is read of a
    large file is given back at once, as the system maps up to 2 MiB around each token."""

    tokens: npt.NDArray[np.unsignedinteger[Any]]  # (all tokens,)
    lookup: npt.NDArray[np.int32]  # the id of each token

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, places: Any, /) -> npt.NDArray[np.int32]:
        ids: npt.NDArray[np.int32] = self.lookup[self.tokens[places]]
        if self.tokens.nbytes > SMALL:
            mapped.give_back(self.tokens)
        return ids


@dataclass(frozen=True)
class Joined:
    """Two rows of ids, one after the other."""

    one: Ids
    other: Ids

    def __len__(self) -> int:
        return len(self.one) + len(self.other)

    def __getitem__(self, places: Any, /) -> npt.NDArray[np.int32]:
        if isinstance(places, slice):
            places = np.arange(*places.indices(len(self)))
        ids = np.empty(places.shape, dtype=np.int32)
        is_first = places < len(self.one)
        ids[is_first] = self.one[places[is_first]]
        ids[~is_first] = self.other[places[~is_first] - len(self.one)]
        return ids


@dataclass(frozen=True)
class Documents(Dataset[Batch]):
    """Labelled documents: document i is `ids[starts[i]:starts[i] + lengths[i]]`.

    Of each batch, rank r of W processes has the documents r, r + W, r + 2 W, …. Where these are none it has the first
    one, as a spare, which counts nothing.
    """

    ids: Ids  # (all tokens,)
    starts: Whole  # (documents,)
    lengths: Whole  # (documents,), at least 1
    labels: Whole  # (documents,)
    rank: int = 0
    world_size: int = 1

    def __len__(self) -> int:
        return len(self.lengths)

    def document(self, row: int) -> npt.NDArray[np.int32]:
        """Return the ids of one document, (its length,)."""
        start, length = int(self.starts[row]), int(self.lengths[row])
        return self.ids[start : start + length]

    def together(self) -> Iterator[npt.NDArray[np.int32]]:
        """Yield the ids of all documents, those of many at a time, (their tokens,)."""
        for first in range(0, len(self), MANY):
            starts, lengths = (wide(each[first : first + MANY]) for each in (self.starts, self.lengths))
            before = np.cumsum(lengths) - lengths
            yield self.ids[np.repeat(starts - before, lengths) + np.arange(lengths.sum())]

    def __getitem__(self, rows: Sequence[int]) -> Batch:
        """Put the documents `rows`, or this rank's part of them, into one batch, without a loop."""
        part = None
        if self.world_size > 1:
            own = rows[self.rank :: self.world_size]
            share = len(own) * self.world_size / len(rows)
            part = Part(share, int(self.lengths[rows].sum()), len(rows))
            rows = own or rows[:1]
        starts, lengths, labels = (wide(each[rows]) for each in (self.starts, self.lengths, self.labels))
        steps = np.arange(lengths.max())
        inside = steps < lengths[:, None]
        # Places beyond a document's end are read from its start, which always exists, and then become padding.
        places = starts[:, None] + np.where(inside, steps, 0)
        ids = np.where(inside, self.ids[places], PAD_ID).astype(np.int64)
        return Batch(torch.from_numpy(ids), torch.from_numpy(lengths), torch.from_numpy(labels), part)


def narrow(numbers: Whole) -> Whole:
    """Return whole numbers in as few bytes each as hold them all."""
    least, most = int(numbers.min(initial=0)), int(numbers.max(initial=0))
    ends = (least, -1 - most) if least < 0 else (least, most)  # a byte with a sign holds -128 to 127
    return numbers.astype(np.result_type(*map(np.min_scalar_type, ends)), copy=False)


def wide(numbers: Whole) -> npt.NDArray[np.int64]:
    """Return a copy in 64 bits, to compute with: sums of narrow numbers may not fit their width."""
    return numbers.astype(np.int64)


class BucketSampler(EpochSampler[list[int]]):
    """Batches of documents of similar length, in an order that depends on the seed and the epoch alone.

    Documents are sorted by their length times a random factor in [1 - noise, 1 + noise] and cut into batches, which are
    shuffled. So there is little padding, and each epoch has other batches, but always the same number of them: learning
    rate schedules and progress are exact. Without a seed, documents are sorted by length, shortest first.
    """

    def __init__(
        self,
        lengths: Whole,
        *,
        batch_size: int | None = None,
        max_tokens: int | None = None,
        noise: float = 0.0,
        seed: int | None = None,
    ) -> None:
        """Make batches of `batch_size` documents, or of at most `max_tokens` tokens with their padding. A longer
        document is a batch by itself.

        Args:
            lengths: (documents,) tokens of each document.
            batch_size: documents in a batch.
            max_tokens: tokens in a batch.
            noise: how far lengths are changed before documents are sorted, see above.
            seed: of the random order; None means no random order.

        Raises:
            ValueError: not exactly one of `batch_size` and `max_tokens` is given, it is below 1, or `noise` is not in
                [0, 1).
        """
        if (batch_size is None) == (max_tokens is None):
            raise ValueError("give either batch_size or max_tokens")
        if (batch_size or max_tokens or 0) < 1:
            raise ValueError("batch_size and max_tokens must be at least 1")
        if not 0 <= noise < 1:
            raise ValueError(f"noise must be at least 0 and below 1, not {noise}")
        self.lengths, self.noise, self.seed = lengths, noise if seed is not None else 0.0, seed
        if batch_size is not None:
            self._cuts = np.arange(0, len(lengths), batch_size)
        elif max_tokens is not None:
            self._cuts = np.array(self._cuts_within(max_tokens), dtype=np.int64)

    def _cuts_within(self, max_tokens: int) -> list[int]:
        """Return where batches begin in an epoch's order: none of several documents exceeds `max_tokens` in any epoch.

        With noise, the i-th document of an epoch is at most (1 + noise) / (1 - noise) times as long as the i-th of all
        documents sorted by length.
        """
        longest = np.sort(self.lengths) * ((1 + self.noise) / (1 - self.noise))
        np.minimum(longest, self.lengths.max(initial=0), out=longest)
        cuts, start = [], 0
        while start < len(longest):
            cuts.append(start)

            def is_too_many(last: int, first: int = start) -> bool:
                return bool(longest[last] * (last + 1 - first) > max_tokens)

            # The padded size grows with each document, so the first that is too many is found by bisection.
            start += 1 + bisect_left(range(start + 1, len(longest)), True, key=is_too_many)
        return cuts

    def __len__(self) -> int:
        return len(self._cuts)

    def __iter__(self) -> Iterator[list[int]]:
        if self.seed is None:
            order: Whole = np.argsort(self.lengths, kind="stable")
            turns = np.arange(len(self))
        else:
            random = np.random.default_rng([self.seed, self.epoch])
            order = self._order(random)
            turns = random.permutation(len(self))
        ends = np.append(self._cuts[1:], len(order))
        for turn in turns[self.start :]:
            yield order[self._cuts[turn] : ends[turn]].tolist()

    def _order(self, random: np.random.Generator) -> Whole:
        """Return the documents by their length times a random factor; where that ties, in a random order.

        Some are put in order at a time, those whose products are in one range: the same numbers are drawn for each
        range again. So there is never a product, or a place of eight bytes, for each document.
        """
        count = len(self.lengths)
        order = all_rows(count)
        random.shuffle(order)
        if not self.noise:  # equal products are many, and would be in one range
            for _ in self._products(random):  # what is drawn next stays what it is with noise
                pass
            return order[np.argsort(self.lengths[order], kind="stable")]
        places = np.empty_like(order)  # where a document comes among those of its product
        for first in range(0, count, AT_ONCE):
            places[order[first : first + AT_ONCE]] = np.arange(first, min(count, first + AT_ONCE))
        drawn, end, ranges = random.bit_generator.state, 0, -(-count // AT_ONCE)
        # Copies, since views would keep all products.
        some = np.concatenate([products[::1000].copy() for _, products in self._products(random)])
        bounds = np.quantile(some, np.arange(1, ranges) / ranges) if ranges > 1 else []
        for low, high in pairwise([-np.inf, *bounds, np.inf]):
            random.bit_generator.state = drawn
            found = list(self._products_between(low, high, random))
            products, documents = (np.concatenate(each) for each in zip(*found, strict=True))
            order[end : end + len(documents)] = documents[np.lexsort((places[documents], products))]
            end += len(documents)
        return order

    def _products(self, random: np.random.Generator) -> Iterator[tuple[int, Floats]]:
        """Draw a factor for each document, and yield the products of many documents with the first's number."""
        for first in range(0, max(1, len(self.lengths)), MANY):
            lengths = self.lengths[first : first + MANY]
            yield first, random.uniform(1 - self.noise, 1 + self.noise, len(lengths)) * lengths

    def _products_between(self, low: float, high: float, random: np.random.Generator) -> Iterator[tuple[Floats, Whole]]:
        """Draw as `_products` does, and yield the products from `low` to below `high`, and their documents."""
        for first, products in self._products(random):
            inside = np.flatnonzero((low <= products) & (products < high))
            yield products[inside], inside + first
