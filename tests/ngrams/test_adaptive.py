"""Adaptive counts against a count of the whole past at each symbol."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from tests.ngrams.test_kneser_ney import array, text
from unroll.ngrams import adaptive
from unroll.ngrams.adaptive import AdaptiveCounts


def by_hand(read: list[int], order: int, size: int, since: int = 0) -> tuple[list[float], int]:
    """What follows `read` (Witten & Bell 1991), by the symbols from `since` on; and the longest known context."""
    probabilities, longest = [1 / size] * size, -1
    for length in range(order):
        context = read[len(read) - length :]
        ends = [i for i in range(since, len(read)) if i >= length and read[i - length : i] == context]
        if length > len(read) or not ends:
            break
        counts, longest = Counter(read[i] for i in ends), length
        whole = len(ends) + len(counts)
        probabilities = [(counts[w] + len(counts) * probabilities[w]) / whole for w in range(size)]
    return probabilities, longest


@pytest.mark.parametrize("order", [1, 2, 4])
def test_each_symbol_is_predicted_by_the_counts_of_those_before_it(order: int) -> None:
    ids = text(5, 80)
    probabilities, lengths = AdaptiveCounts(order, 6).predict(array(ids))
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-12)
    for i in range(len(ids)):
        expected, longest = by_hand(ids[: i + 1], order, 6)
        np.testing.assert_allclose(probabilities[i], expected, rtol=1e-12)
        assert lengths[i] == longest


def test_what_comes_later_changes_nothing() -> None:
    ids = text(5, 60)
    before, _ = AdaptiveCounts(4, 5).predict(array(ids))
    for changed in (10, 30, 59):
        others = [*ids[:changed], *(4 - symbol for symbol in ids[changed:])]
        after, _ = AdaptiveCounts(4, 5).predict(array(others))
        np.testing.assert_array_equal(after[:changed], before[:changed])
        assert (after[changed] != before[changed]).any()


def test_a_text_in_pieces_is_predicted_as_a_whole() -> None:
    ids = array(text(5, 60))
    whole, lengths = AdaptiveCounts(4, 5).predict(ids)
    model = AdaptiveCounts(4, 5)
    pieces = [model.predict(piece) for piece in np.split(ids, [1, 8, 40])]
    np.testing.assert_array_equal(np.concatenate([piece for piece, _ in pieces]), whole)
    np.testing.assert_array_equal(np.concatenate([known for _, known in pieces]), lengths)


def test_with_too_many_contexts_the_counts_begin_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adaptive, "MOST_CONTEXTS", 20)
    ids, order, since, contexts = text(5, 80), 3, 0, set[tuple[int, ...]]()
    probabilities, _ = AdaptiveCounts(order, 5).predict(array(ids))
    for i in range(len(ids)):
        if len(contexts) >= 20:
            since, contexts = i, set()
        contexts |= {tuple(ids[i - length : i]) for length in range(min(order - 1, i) + 1)}
        np.testing.assert_allclose(probabilities[i], by_hand(ids[: i + 1], order, 5, since)[0], rtol=1e-12)
    assert since > 40
