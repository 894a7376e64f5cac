"""The weights of mixtures against a search for the highest probability."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from unroll.ngrams.mixture import (
    MOST,
    PART,
    PRIOR,
    LogLinear,
    fit_factor,
    fit_factors,
    fit_weights,
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


def cross_entropy(logs: Any, targets: Any, powers: Any) -> Any:
    """Mean nats of a log-linear mixture, by torch."""
    logits = torch.einsum("m,mtv->tv", torch.as_tensor(powers, dtype=torch.float64), torch.tensor(logs))
    return torch.nn.functional.cross_entropy(logits, torch.tensor(targets))


@pytest.mark.parametrize("right", [0.25, 0.45, 0.8, 1.03, 1.7, 2.5])
def test_the_power_of_one_model_is_where_the_cross_entropy_is_least(right: float) -> None:
    """Symbols are drawn from known probabilities, and the model gives these at another temperature."""
    random = np.random.default_rng(0)
    logits = 2 * random.normal(size=(4000, 6))
    targets = np.array([random.choice(6, p=row) for row in torch.tensor(logits).softmax(-1).numpy()])
    logs = torch.tensor(logits * right).log_softmax(-1).numpy()[None]
    mixture = LogLinear(1)
    for window in (slice(0, 1000), slice(1000, 4000)):
        mixture.learn(np.exp(logs[:, window]), targets[window])
    least = 16 * best(lambda share: -float(cross_entropy(logs, targets, [16 * share])))
    # Not closer, since the steps before were taken at other powers.
    assert mixture.powers[0] == pytest.approx(least, rel=0.1)
    assert cross_entropy(logs, targets, mixture.powers) < cross_entropy(logs, targets, [least]) + 1e-3


def test_the_powers_of_models_are_near_those_of_the_highest_probability() -> None:
    """Both models see the right logits, each through noise of its own; the third knows nothing."""
    random = np.random.default_rng(1)
    right = 2 * random.normal(size=(3000, 5))
    targets = np.array([random.choice(5, p=row) for row in torch.tensor(right).softmax(-1).numpy()])
    seen = np.stack([right + random.normal(size=right.shape), right + 2 * random.normal(size=right.shape), 0 * right])
    logs = torch.tensor(seen).log_softmax(-1).numpy()
    powers = torch.full((3,), 1 / 3, dtype=torch.float64, requires_grad=True)
    search = torch.optim.LBFGS([powers], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> Any:
        search.zero_grad()
        value = cross_entropy(logs, targets, powers)
        value.backward()
        return value

    search.step(loss)  # type: ignore[no-untyped-call]
    mixture = LogLinear(3)
    likelihoods = mixture.learn(np.exp(logs), targets)
    found = powers.detach().numpy()
    np.testing.assert_allclose(mixture.powers[:2], found[:2], atol=0.02)
    assert found[0] > found[1] > 0.1
    assert cross_entropy(logs, targets, mixture.powers) < loss() + 1e-4
    assert -np.log(likelihoods).mean() < loss() + 0.01
    alone = [float(cross_entropy(logs, targets, power)) for power in ([1.0, 0, 0], [0, 1.0, 0])]
    assert -np.log(likelihoods).mean() < min(alone)


def test_a_log_linear_mixture_learns_from_a_part_after_it_has_predicted_it() -> None:
    random = np.random.default_rng(2)
    probabilities = random.dirichlet(np.ones(4), size=(2, 2 * PART))
    targets = random.integers(0, 4, 2 * PART)
    mixture = LogLinear(2)
    logs = np.log(probabilities)
    likelihoods = mixture.learn(probabilities[:, :PART], targets[:PART])
    first = torch.tensor(logs[:, :PART].mean(0)).softmax(-1).numpy()  # powers of 1/2 each
    np.testing.assert_allclose(likelihoods, first[np.arange(PART), targets[:PART]])
    # One step of Newton's method from there, by automatic differentiation; the curvature begins at 1.
    start = torch.tensor([0.5, 0.5], dtype=torch.float64, requires_grad=True)
    part = logs[:, :PART], targets[:PART]
    (gradient,) = torch.autograd.grad(PART * cross_entropy(*part, start), start)
    curvature = torch.autograd.functional.hessian(lambda powers: PART * cross_entropy(*part, powers), start)
    step = torch.linalg.solve(curvature + torch.eye(2), gradient)  # type: ignore[operator]
    np.testing.assert_allclose(mixture.powers, (start - step).detach().clamp(0, MOST).numpy())
    second = torch.tensor(np.tensordot(mixture.powers, logs[:, PART:], 1)).softmax(-1).numpy()
    likelihoods = mixture.learn(probabilities[:, PART:], targets[PART:])
    np.testing.assert_allclose(likelihoods, second[np.arange(PART), targets[PART:]])


def test_powers_are_bounded_and_what_one_model_excludes_may_come() -> None:
    sure = np.tile([1.0, 0.0], (1, 200, 1))
    mixture = LogLinear(1)
    mixture.learn(sure, np.zeros(200, dtype=np.int64))
    assert 0.9 < mixture.powers[0] <= MOST
    mixture.learn(sure, np.ones(200, dtype=np.int64))  # what the model excludes comes again and again
    assert mixture.powers[0] == pytest.approx(0, abs=0.1)
    np.testing.assert_allclose(LogLinear(2).mix(np.array([[[1.0, 0.0]], [[0.5, 0.5]]])).sum(), 1)


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
