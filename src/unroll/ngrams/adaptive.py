"""An n-gram model that counts the text that it predicts, as it reads it."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from unroll.ngrams.kneser_ney import Floats, Ids, Integers

MOST_CONTEXTS = 2**20  # that are kept, in about 300 MiB; a text of half a million characters has so many


class AdaptiveCounts:
    """The probability of each symbol after the last `order` - 1 symbols, by what has been read so far.

    A context of which `total` symbols and `types` distinct ones are known has the share total / (total + types) of the
    probability, and leaves the rest to the context that is a symbol shorter (Witten & Bell 1991; method C of PPM,
    Moffat 1990, interpolated). The shortest leaves it to 1 / vocabulary. With `MOST_CONTEXTS` known, the counts begin
    anew, as those of PPMd do.
    """

    def __init__(self, order: int, vocabulary_size: int) -> None:
        """Begin with no counts.

        Args:
            order: symbols in the longest n-gram, at least 1.
            vocabulary_size: ids are below this.
        """
        self.order, self.vocabulary_size = order, vocabulary_size
        # Strings, a character for each id, are small keys and quick to cut.
        self._followers: defaultdict[str, dict[int, int]] = defaultdict(dict)
        self._context = ""  # the last order - 1 symbols

    def predict(self, ids: Ids) -> tuple[Floats, Integers]:
        """Read and count each symbol of the next stretch of the text, and predict what follows it.

        Args:
            ids: (time,).

        Returns:
            probabilities: (time, vocabulary) of the next symbol; each row sums to 1 and depends on symbols read so far.
            lengths: (time,) symbols in the longest context that has been read with a symbol after it.
        """
        probabilities = np.full((len(ids), self.vocabulary_size), 1 / self.vocabulary_size)
        lengths = np.zeros(len(ids), dtype=np.int64)
        for row, symbol in enumerate(ids.tolist()):
            self._count(symbol)
            lengths[row] = self._interpolate(probabilities[row])
        return probabilities, lengths

    def _count(self, symbol: int) -> None:
        if len(self._followers) >= MOST_CONTEXTS:
            self._followers.clear()
        for start in range(len(self._context) + 1):
            followers = self._followers[self._context[start:]]
            followers[symbol] = followers.get(symbol, 0) + 1
        self._context = (self._context + chr(symbol))[max(0, len(self._context) + 2 - self.order) :]

    def _interpolate(self, probabilities: Floats) -> int:
        """Fill a row that is 1 / vocabulary everywhere, and return the length of the longest known context."""
        for length in range(len(self._context) + 1):
            followers = self._followers.get(self._context[len(self._context) - length :])
            if followers is None:
                return length - 1
            counts = np.fromiter(followers.values(), np.float64, len(followers))
            whole = counts.sum() + len(counts)
            probabilities *= len(counts) / whole
            probabilities[list(followers)] += counts / whole
        return len(self._context)
