"""An n-gram model of a stream of ids: interpolated Kneser-Ney with modified discounts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int32]
Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

MOST_SYMBOLS = 10  # in an n-gram
FEW_COUNTS = (0.0, 0.5, 1.0, 1.5)  # the discounts where a text is too short to estimate them
CHUNK = 2**22  # probabilities at a time


class Counts(NamedTuple):
    """The distinct n-grams of one length. An n-gram's place in these arrays is its number."""

    keys: Integers  # (n-grams,) increasing: the number of all but its last symbol, times the vocabulary, plus the last
    occurrences: Integers  # (n-grams,) in the text
    left: Integers  # (n-grams,) distinct symbols before it; the beginning of the text counts as one


class Level(NamedTuple):
    """The predictions of all contexts of one length."""

    keys: Integers  # (n-grams,) as in `Counts`
    shares: Floats  # (n-grams,) probability of the last symbol after the others, discounted
    starts: Integers  # (contexts + 1,) where each context's n-grams begin
    backoff: Floats  # (contexts,) what the discounts leave for the context that is a symbol shorter


class KneserNey:
    """The probability of each symbol after the last `order` - 1 symbols: Kneser & Ney 1995, interpolated, with the
    discounts of Chen & Goodman 1998 ("An Empirical Study of Smoothing Techniques for Language Modeling", section 3).

    The longest n-grams are counted by their occurrences, the shorter ones by the distinct symbols before them. A single
    symbol's probability is interpolated with 1 / vocabulary, so none is 0.

    >>> model = KneserNey(count(np.array([0, 1, 0, 1, 0, 1], dtype=np.int32), 2, order=2), 2)
    >>> probabilities, lengths = model.predict(np.array([0], dtype=np.int32))
    >>> bool(probabilities[0, 1] > 0.5), int(lengths[0])
    (True, 1)
    """

    def __init__(self, counts: Sequence[Counts], vocabulary_size: int) -> None:
        """Estimate the model.

        Args:
            counts: of the n-grams of 1, 2, … symbols, see `count`; their number is the model's order.
            vocabulary_size: ids are below this.
        """
        self.order, self.vocabulary_size = len(counts), vocabulary_size
        contexts = [1, *(len(each.keys) for each in counts)]
        numbers = [*(each.left for each in counts[:-1]), counts[-1].occurrences]
        self._levels = [
            _level(each.keys, number, size, vocabulary_size)
            for each, number, size in zip(counts, numbers, contexts, strict=False)
        ]

    def predict(self, ids: Ids, history: Ids | None = None) -> tuple[Floats, Integers]:
        """Predict what follows each symbol of a stretch of text.

        Args:
            ids: (time,).
            history: the symbols before them; the last `order` - 1 matter.

        Returns:
            probabilities: (time, vocabulary) of the next symbol; each row sums to 1.
            lengths: (time,) symbols in the longest context that the training text knows with a symbol after it.
        """
        before = ids[:0] if history is None else history[max(0, len(history) - self.order + 1) :]
        text, size = np.concatenate([before, ids]).astype(np.int64), self.vocabulary_size
        probabilities = np.full((len(ids), size), 1 / size)
        lengths = np.zeros(len(ids), dtype=np.int64)
        contexts = np.zeros(len(text), dtype=np.int64)  # numbers of the contexts at each place, -1 for unknown ones
        for length, level in enumerate(self._levels):
            if length:
                earlier = np.append(-1, contexts[:-1]) if length > 1 else np.zeros_like(contexts)
                contexts = _find(self._levels[length - 1].keys, np.where(earlier < 0, -1, earlier * size + text))
            here = contexts[len(before) :]
            rows = np.flatnonzero((here >= 0) & (level.starts[here + 1] > level.starts[here]))
            _interpolate(probabilities, rows, here[rows], level)
            lengths[rows] = length
        return probabilities, lengths

    def bits(self, ids: Ids) -> float:
        """Return the bits per symbol of a text, its first symbol given."""
        steps, nats = max(1, CHUNK // self.vocabulary_size), 0.0
        for start in range(0, len(ids) - 1, steps):
            read, targets = ids[start : start + steps][: len(ids) - 1 - start], ids[start + 1 : start + steps + 1]
            probabilities, _ = self.predict(read, ids[:start])
            nats -= float(np.log(probabilities[np.arange(len(targets)), targets]).sum())
        return nats / (len(ids) - 1) / float(np.log(2))


def count(ids: Ids, vocabulary_size: int, order: int) -> list[Counts]:
    """Count the n-grams of 1 … `order` symbols in a text of at least one symbol; a shorter text has none longer than
    itself.

    An n-gram is numbered by its place among all of its length, and its key is made of the number of its context. So any
    vocabulary and any order fit into 64 bits.
    """
    numbers, found = ids.astype(np.int64), list[Counts]()  # of the n-gram that ends at each place
    keys, numbers, occurrences = np.unique(numbers, return_inverse=True, return_counts=True)
    for length in range(2, min(order, len(ids)) + 2):
        longer, first, longer_numbers, longer_occurrences = np.unique(
            numbers[:-1] * vocabulary_size + ids[length - 1 :],
            return_index=True,
            return_inverse=True,
            return_counts=True,
        )
        left = np.bincount(numbers[1:][first], minlength=len(keys))
        left[numbers[0]] += 1
        found.append(Counts(keys, occurrences, left))
        keys, numbers, occurrences = longer, longer_numbers, longer_occurrences
    return found


def fit(train: Ids, validation: Ids, vocabulary_size: int) -> KneserNey:
    """Return the model of the training text, of the order that needs the fewest bits for the validation text."""
    counts = count(train, vocabulary_size, MOST_SYMBOLS)
    best, fewest = KneserNey(counts[:1], vocabulary_size), np.inf
    for order in range(1, len(counts) + 1):
        model = KneserNey(counts[:order], vocabulary_size)
        bits = model.bits(validation)
        if bits >= fewest:
            break
        best, fewest = model, bits
    return best


def _level(keys: Integers, counts: Integers, num_contexts: int, vocabulary_size: int) -> Level:
    discounts = np.array(_discounts(counts))[np.minimum(counts, 3)]
    contexts = keys // vocabulary_size
    totals = np.bincount(contexts, weights=counts, minlength=num_contexts)
    left = np.bincount(contexts, weights=discounts, minlength=num_contexts)
    return Level(
        keys,
        (counts - discounts) / totals[contexts],
        np.searchsorted(contexts, np.arange(num_contexts + 1)),
        left / np.maximum(totals, 1),
    )


def _discounts(counts: Integers) -> tuple[float, ...]:
    """Return what is taken from a count of 0, 1, 2 and more (Chen & Goodman 1998, modified Kneser-Ney)."""
    n1, n2, n3, n4 = np.bincount(np.minimum(counts, 5), minlength=6)[1:5].tolist()
    if not (n1 and n2 and n3):
        return FEW_COUNTS
    y = n1 / (n1 + 2 * n2)
    found = (0.0, 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
    return found if min(found) >= 0 else FEW_COUNTS


def _find(keys: Integers, wanted: Integers) -> Integers:
    """Return the place of each wanted key, -1 where there is none."""
    places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[places] == wanted, places, -1)


def _interpolate(probabilities: Floats, rows: Integers, contexts: Integers, level: Level) -> None:
    """Replace `rows` by the predictions of longer contexts, one for each row."""
    starts, sizes = level.starts[contexts], level.starts[contexts + 1] - level.starts[contexts]
    probabilities[rows] *= level.backoff[contexts, None]
    places = np.arange(sizes.sum()) + np.repeat(starts - (np.cumsum(sizes) - sizes), sizes)
    symbols = level.keys[places] % probabilities.shape[1]
    probabilities[np.repeat(rows, sizes), symbols] += level.shares[places]  # no pair of row and symbol comes twice
