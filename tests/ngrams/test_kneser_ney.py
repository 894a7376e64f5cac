"""Kneser-Ney against the definitions of Chen & Goodman 1998, written out with dictionaries of tuples."""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from unroll.ngrams.kneser_ney import KneserNey, count, fit


def text(symbols: int, length: int, seed: int = 0) -> list[int]:
    """Some habits, so that long contexts come again."""
    random_, drawn = random.Random(seed), [0]
    while len(drawn) < length:
        drawn.append((drawn[-1] * 2 + 1) % symbols if random_.random() < 0.6 else random_.randrange(symbols))
    return drawn[:length]


def array(ids: Sequence[int]) -> np.ndarray[Any, np.dtype[np.int32]]:
    return np.array(ids, dtype=np.int32)


class ByHand:
    """The model of a text, one number at a time."""

    def __init__(self, ids: list[int], order: int, vocabulary_size: int) -> None:
        self.order, self.size = order, vocabulary_size
        self.counts: dict[int, dict[tuple[int, ...], int]] = {}
        for length in range(1, order + 1):
            places = range(len(ids) - length + 1)
            if length == order:
                self.counts[length] = Counter(tuple(ids[i : i + length]) for i in places)
            else:
                before = defaultdict(set)
                for i in places:
                    before[tuple(ids[i : i + length])].add(ids[i - 1] if i else "the beginning")
                self.counts[length] = {ngram: len(symbols) for ngram, symbols in before.items()}
        self.discounts = {length: self._discounts(list(found.values())) for length, found in self.counts.items()}

    @staticmethod
    def _discounts(counts: list[int]) -> list[float]:
        n = [counts.count(c) for c in range(5)]
        if 0 in n[1:4]:
            return [0, 0.5, 1, 1.5]
        y = n[1] / (n[1] + 2 * n[2])
        found = [0, 1 - 2 * y * n[2] / n[1], 2 - 3 * y * n[3] / n[2], 3 - 4 * y * n[4] / n[3]]
        return found if min(found) >= 0 else [0, 0.5, 1, 1.5]

    def followers(self, context: tuple[int, ...]) -> dict[int, int]:
        found = self.counts[len(context) + 1]
        return {w: found[*context, w] for w in range(self.size) if (*context, w) in found}

    def probability(self, context: tuple[int, ...], symbol: int) -> float:
        lower = self.probability(context[1:], symbol) if context else 1 / self.size
        followers, discounts = self.followers(context), self.discounts[len(context) + 1]
        if not followers:
            return lower
        total = sum(followers.values())
        taken = sum(discounts[min(c, 3)] for c in followers.values())
        c = followers.get(symbol, 0)
        return (c - discounts[min(c, 3)]) / total + taken / total * lower


@pytest.mark.parametrize(("symbols", "length", "order"), [(4, 300, 1), (4, 300, 3), (6, 2000, 5), (3, 6, 4)])
def test_the_probabilities_are_those_of_the_definition(symbols: int, length: int, order: int) -> None:
    ids, read = text(symbols, length), [*text(symbols, 25, seed=1), symbols]  # the last symbol is never seen
    model, by_hand = KneserNey(count(array(ids), symbols + 1, order), symbols + 1), ByHand(ids, order, symbols + 1)
    probabilities, lengths = model.predict(array(read))
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-12)
    for i in range(len(read)):
        contexts = [tuple(read[i + 1 - length : i + 1]) for length in range(min(order - 1, i + 1) + 1)]
        expected = [by_hand.probability(contexts[-1], w) for w in range(symbols + 1)]
        np.testing.assert_allclose(probabilities[i], expected, rtol=1e-12)
        assert lengths[i] == max(len(context) for context in contexts if by_hand.followers(context))


def test_discounts_of_a_long_text_are_estimated() -> None:
    """So that the test above covers both ways."""
    by_hand = ByHand(text(6, 2000), 5, 7)
    assert by_hand.discounts[5] != [0, 0.5, 1, 1.5]
    assert by_hand.discounts[1] == [0, 0.5, 1, 1.5]


def test_a_text_in_pieces_is_predicted_as_a_whole() -> None:
    ids, read = array(text(5, 500)), array(text(5, 40, seed=1))
    model = KneserNey(count(ids, 5, 4), 5)
    whole, lengths = model.predict(read)
    for start, end in ((0, 1), (1, 3), (3, 17), (17, 40)):
        piece, known = model.predict(read[start:end], read[:start])
        np.testing.assert_array_equal(piece, whole[start:end])
        np.testing.assert_array_equal(known, lengths[start:end])


def test_a_large_vocabulary_fits_into_the_keys() -> None:
    ids = [0, 99_999, 4, 99_999, 4, 0, 99_999, 4, 7]
    model, by_hand = KneserNey(count(array(ids), 100_000, 8), 100_000), ByHand(ids, 8, 100_000)
    probabilities, lengths = model.predict(array([0, 99_999, 4, 99_999]))
    assert lengths.tolist() == [1, 2, 3, 4]
    assert probabilities[3, 4] == pytest.approx(by_hand.probability((0, 99_999, 4, 99_999), 4), rel=1e-12)
    assert probabilities[3].sum() == pytest.approx(1, abs=1e-9)


def test_bits_are_the_mean_over_all_symbols_but_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unroll.ngrams.kneser_ney.CHUNK", 35)  # seven symbols at a time
    ids, read = text(5, 500), text(5, 45, seed=1)
    by_hand = ByHand(ids, 3, 5)
    nats = [-math.log(by_hand.probability(tuple(read[max(0, i - 2) : i]), read[i])) for i in range(1, len(read))]
    model = KneserNey(count(array(ids), 5, 3), 5)
    assert model.bits(array(read)) == pytest.approx(sum(nats) / len(nats) / math.log(2), rel=1e-12)


def test_the_order_is_the_validation_texts_best() -> None:
    """The next symbol follows from the two before it, and from nothing else."""
    random_ = random.Random(0)
    drawn = [0, 0]
    while len(drawn) < 4000:
        drawn.append((drawn[-1] + drawn[-2]) % 5 if random_.random() < 0.9 else random_.randrange(5))
    train, val = drawn[:3000], drawn[3000:]
    bits = [KneserNey(count(array(train), 5, order), 5).bits(array(val)) for order in range(1, 6)]
    model = fit(array(train), array(val), 5)
    assert model.order == 1 + bits.index(min(bits)) == 3
    assert model.bits(array(val)) == min(bits)


def test_a_text_of_one_symbol_is_enough() -> None:
    model = fit(array([2]), array([1, 2, 2]), 3)
    assert model.order == 1
    probabilities, lengths = model.predict(array([0, 2]))
    np.testing.assert_allclose(probabilities, [[1 / 6, 1 / 6, 4 / 6]] * 2)
    assert lengths.tolist() == [0, 0]
