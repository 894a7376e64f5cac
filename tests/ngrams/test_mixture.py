"""The weights of mixtures against a search for the highest probability."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from unroll.ngrams.mixture import (
    MOST,
    PRIOR,
    TEMPERATURES,
    fit_factor,
    fit_factors,
    fit_temperature,
    fit_weights,
    tempered_losses,
)


def best(value: object) -> float:
    """The place in 0 … 1 where a concave function is highest, by ternary search."""
    low, high = 0.0, 1.0
    for _ in range(100):
        one, other = low + (high - low) / 3, high - (high - low) / 3
        low, high = (one, high) if value(one) < value(other) else (low, other)  # type: ignore[operator]
    return (low + high) / 2


def test_the_weights_give_the_text_the_highest_probability() -> None:
    random = np.random.default_rng(0)
    likelihoods = random.uniform(0.01, 1, (600, 2)) * [1, 0.9]
    cells = random.integers(0, 2, 600)
    likelihoods[cells == 1, 1] **= 0.5  # the second model is better there
    weights = fit_weights(likelihoods, cells, 3)
    overall = best(lambda w: float(np.log(likelihoods @ [w, 1 - w]).sum()))
    assert weights[2, 0] == pytest.approx(overall, abs=1e-3)  # no symbol is in this cell
    for cell in (0, 1):
        own = likelihoods[cells == cell]

        def posterior(w: float, own: np.ndarray = own) -> float:  # type: ignore[type-arg]
            prior = PRIOR * (overall * math.log(w) + (1 - overall) * math.log(1 - w))
            return float(np.log(own @ [w, 1 - w]).sum()) + prior

        assert weights[cell, 0] == pytest.approx(best(posterior), abs=2e-3)
    np.testing.assert_allclose(weights.sum(1), 1)
    assert weights[1, 0] < weights[0, 0] - 0.1


def test_a_model_that_is_never_better_gets_nothing() -> None:
    likelihoods = np.tile([0.5, 0.1, 0.1], (200, 1))
    weights = fit_weights(likelihoods, np.zeros(200, dtype=np.int64), 1)
    np.testing.assert_allclose(weights, [[1, 0, 0]], atol=1e-6)


def test_the_factor_of_logits_is_where_the_cross_entropy_is_least() -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 200)
    logits, others = random.normal(size=(200, 3)), random.normal(size=(200, 3))
    others[np.arange(200), labels] += 1

    def likelihood(share: float) -> float:
        mixed = logits + 4 * share * others
        return float((mixed[np.arange(200), labels] - np.log(np.exp(mixed).sum(1))).sum())

    assert fit_factor(logits, others, labels) == pytest.approx(4 * best(likelihood), abs=1e-5)
    assert fit_factor(logits, -others, labels) == 0
    assert fit_factor(logits, np.eye(3)[labels], labels) == pytest.approx(MOST)


@pytest.mark.parametrize("right", [0.45, 0.8, 1.03, 1.7, 2.5])
def test_the_temperature_is_where_the_cross_entropy_is_least(right: float) -> None:
    """Symbols are drawn from known probabilities, and the model gives these at another temperature."""
    random = np.random.default_rng(0)
    logits = 2 * random.normal(size=(4000, 6))
    targets = np.array([random.choice(6, p=row) for row in torch.tensor(logits).softmax(-1).numpy()])
    given = torch.tensor(logits * right)
    probabilities = given.softmax(-1).numpy()
    losses = tempered_losses(probabilities[:1000], targets[:1000]) + tempered_losses(
        probabilities[1000:], targets[1000:]
    )
    by_torch = [
        float(torch.nn.functional.cross_entropy(given / each, torch.tensor(targets), reduction="sum"))
        for each in TEMPERATURES
    ]
    np.testing.assert_allclose(losses, by_torch)
    least = best(lambda share: -float(torch.nn.functional.cross_entropy(given / (4 * share), torch.tensor(targets))))
    assert fit_temperature(losses) == pytest.approx(min(max(4 * least, 0.5), 2), rel=3e-3)


def test_what_cannot_come_changes_no_temperature() -> None:
    losses = tempered_losses(np.array([[0.5, 0.5, 0.0]]), np.array([0]))
    np.testing.assert_allclose(losses, np.log(2))
    assert fit_temperature(losses) in TEMPERATURES


def test_two_factors_are_where_the_gradient_of_the_cross_entropy_is_zero() -> None:
    random = np.random.default_rng(1)
    labels = random.integers(0, 3, 300)
    good = np.eye(3)[labels] + random.normal(size=(300, 3))
    alike = good + random.normal(size=(300, 3))  # makes many of the same mistakes
    factors = torch.tensor(fit_factors(3 * good, alike, labels), dtype=torch.float64, requires_grad=True)
    mixed = factors[0] * torch.from_numpy(3 * good) + factors[1] * torch.from_numpy(alike)
    torch.nn.functional.cross_entropy(mixed, torch.from_numpy(labels)).backward()  # type: ignore[no-untyped-call]
    assert factors.grad is not None
    assert float(factors.grad.abs().max()) < 1e-6 or 0 in factors.tolist()
    assert float(factors.detach()[0]) > 0.1
