"""The choice of a symbol against its probabilities, filters written by hand, and Gumbel's distribution."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from tests.inference.distribution import probabilities
from unroll.errors import UserError
from unroll.inference.sampling import BLOCK, Sampler

FILTERS: list[tuple[float, int | None, float | None]] = [
    (1.0, None, None),
    (0.5, None, None),
    (2.0, None, 1.0),
    (1.0, 3, None),
    (1.0, None, 0.75),
    (1.5, 4, 0.8),
    (1.0, 99, 1),
]


def make_sampler(size: int, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None) -> Sampler:
    return Sampler(np.arange(size), temperature, top_k, top_p)


@pytest.mark.parametrize(("temperature", "top_k", "top_p"), FILTERS)
def test_symbols_are_chosen_with_their_probabilities(
    temperature: float, top_k: int | None, top_p: float | None
) -> None:
    logits, draws = [0.3, 2.0, -1.0, 1.1, 0.0, -3.0, 1.4], 500 * 128
    sampler = make_sampler(7, temperature, top_k, top_p)
    rows, noise = np.tile(np.float32(logits), (128, 1)), sampler.noise(1, 128)
    counts = np.bincount(np.concatenate([sampler.choose(rows, next(noise)) for _ in range(500)]), minlength=7)
    expected = draws * np.array(probabilities(logits, temperature, top_k, top_p))
    kept = expected > 0
    assert not counts[~kept].any()
    chi_square, freedom = ((counts - expected)[kept] ** 2 / expected[kept]).sum(), kept.sum() - 1
    assert chi_square < freedom + 5 * math.sqrt(2 * freedom)


def test_the_noise_is_gumbels() -> None:
    draws = np.sort(np.stack([next(make_sampler(50, 2.0).noise(seed, 20)) for seed in range(40)]).ravel() / 2)
    distance = abs(np.exp(-np.exp(-draws)) - (np.arange(len(draws)) + 0.5) / len(draws)).max()
    assert distance < 1.95 / math.sqrt(len(draws))  # Kolmogorov and Smirnov: beyond this once in a thousand


@pytest.mark.parametrize("top_k", [None, 1, 3, 12, 99])
@pytest.mark.parametrize("top_p", [None, 1e-300, 0.3, 0.9, 0.999, 1.0])
def test_the_best_score_of_those_that_are_kept_is_chosen(top_k: int | None, top_p: float | None) -> None:
    random, temperature = np.random.default_rng(0), 0.8
    logits = random.normal(scale=2, size=(300, 12)).astype(np.float32)
    logits[::3] = logits[::3].round()  # with ties
    sampler = make_sampler(12, temperature, top_k, top_p)
    noise = next(sampler.noise(3, 300))
    chosen = sampler.choose(logits, noise)
    for row, of_it, symbol in zip(logits.tolist(), noise.tolist(), chosen, strict=True):
        kept = [i for i, p in enumerate(probabilities(row, temperature, top_k, top_p)) if p]
        assert symbol == max(kept, key=lambda i: row[i] + of_it[i])
    alone = [sampler.choose(logits[i : i + 1], noise[i : i + 1])[0] for i in range(300)]
    np.testing.assert_array_equal(chosen, alone)


def every_choice(logits: list[float], **filters: Any) -> set[int]:
    """All symbols that are ever chosen in 1,000 draws."""
    sampler = make_sampler(len(logits), **filters)
    return set(sampler.choose(np.tile(np.float32(logits), (1000, 1)), next(sampler.noise(0, 1000))).tolist())


def test_where_logits_are_equal_the_lower_ids_are_kept() -> None:
    assert every_choice([1.0, 2.0, 1.0, 2.0, 1.0, 1.0], top_k=3) == {0, 1, 3}
    assert every_choice([1.0, 2.0, 1.0, 2.0, 1.0, 1.0], top_k=1) == {1}
    assert every_choice([1.0, 2.0, 1.0, 2.0, 1.0, 1.0], temperature=0) == {1}
    assert every_choice([0.0] * 10, top_p=0.55) == set(range(6))
    assert every_choice([0.0] * 10, top_k=4, top_p=0.5) == {0, 1}


def test_a_nucleus_of_one_keeps_the_least_likely() -> None:
    chosen = make_sampler(2, top_p=1.0).choose(np.float32([[0, -50]]), np.float32([[0, 100]]))
    assert chosen.tolist() == [1]


def test_ids_that_may_not_be_chosen_are_not_looked_at() -> None:
    sampler = Sampler(np.array([1, 2, 5]), 0.0, None, None)
    logits = np.float32([[9, 1, 2, 9, 9, 3], [np.nan, 7, 2, np.inf, 9, 3]])
    assert sampler.choose(logits, next(sampler.noise(0, 2))).tolist() == [5, 1]


def test_noise_depends_on_seed_sample_and_step_alone() -> None:
    sampler, steps = make_sampler(80), 150  # more than are drawn at a time

    def noise(seed: int, rows: int) -> np.ndarray:
        source = sampler.noise(seed, rows)
        return np.stack([next(source) for _ in range(steps)], axis=1)

    many, few, other = noise(7, 40), noise(7, 3), noise(8, 3)
    assert 40 * 80 * steps > BLOCK
    np.testing.assert_array_equal(many[:3], few)
    series = np.concatenate([many, other])
    assert len(np.unique(series[:, 0, 0])) == len(series)
    assert abs(np.corrcoef(series.reshape(len(series), -1)) - np.eye(len(series))).max() < 5 / math.sqrt(80 * steps)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(("temperature", "top_k", "top_p"), [(0.0, None, None), *FILTERS])
def test_logits_that_are_not_finite_are_refused(
    temperature: float, top_k: int | None, top_p: float | None, value: float
) -> None:
    sampler = make_sampler(4, temperature, top_k, top_p)
    logits = np.zeros((2, 4), np.float32)
    logits[1, 2] = value
    with pytest.raises(UserError, match="logits are not finite"):
        sampler.choose(logits, next(sampler.noise(0, 2)))
