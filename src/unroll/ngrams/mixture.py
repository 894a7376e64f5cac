"""How much each model counts in a mixture: of probabilities, of their logarithms, or of logits."""

from __future__ import annotations

import numpy as np

from unroll.ngrams.kneser_ney import Floats, Integers

PRIOR = 10.0  # symbols that the weights of all cells together count for in each cell
ITERATIONS = 100
MOST = 16.0  # for a factor or power; without a bound it would be infinite where all labels are predicted
ROUNDS = 100  # of fitting two factors in turns
FLOOR = 1e-12
PART = 32  # symbols between two steps of a log-linear mixture


def fit_weights(likelihoods: Floats, cells: Integers, num_cells: int) -> Floats:
    """Return how much each model counts, cell by cell, so that the mixture gives the text the highest probability.

    The probability of a symbol is sum_m weights[cell, m] p_m(symbol) (Jelinek & Mercer 1980). Expectation maximisation
    finds the weights. A cell of few symbols keeps close to the weights that are best for all of them, and an empty one
    has just these.

    Args:
        likelihoods: (positions, models) that each model gave to the symbol that came; in no row are all 0.
        cells: (positions,) below `num_cells`: what is known before the symbol, such as a context's length.
        num_cells: rows of the result.

    Returns:
        weights: (num_cells, models); each row sums to 1.
    """
    models = likelihoods.shape[1]
    overall = np.full((1, models), 1 / models)
    overall = _maximise(likelihoods, np.zeros_like(cells), overall, prior=0.0)
    return _maximise(likelihoods, cells, np.repeat(overall, num_cells, axis=0), PRIOR)


class LogLinear:
    """A log-linear mixture: log p = sum_m powers[m] log p_m - log Z (Klakow 1998).

    The powers are learnt from a text, part by part, each after it was predicted: a step of Newton's method, by the
    part's gradient and the curvature of all parts so far. The cross entropy is convex in the powers, so they end close
    to those that give the text the highest probability.
    """

    def __init__(self, models: int) -> None:
        self.powers = np.full(models, 1 / models)  # (models,), each in 0 … `MOST`
        self._curvature = np.eye(models)

    def mix(self, probabilities: Floats) -> Floats:
        """Return the mixture's probabilities (time, vocabulary) from those of its models, (models, time, vocabulary).

        A model's probability counts as at least `FLOOR`, so that none can rule out what another expects.
        """
        return self._mix(np.log(np.maximum(probabilities, FLOOR)))

    def _mix(self, logs: Floats) -> Floats:
        logits = np.tensordot(self.powers, logs, 1)
        mixed: Floats = np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))
        return mixed

    def learn(self, probabilities: Floats, targets: Integers) -> Floats:
        """Learn from the next part of the text.

        Args:
            probabilities: (models, time, vocabulary).
            targets: (time,), the symbols that came.

        Returns:
            likelihoods: (time,) that the mixture gave to the targets, each by the powers learnt before it.
        """
        logs = np.log(np.maximum(probabilities, FLOOR))
        parts = (slice(begin, begin + PART) for begin in range(0, len(targets), PART))
        return np.concatenate([self._step(logs[:, part], targets[part]) for part in parts])

    def _step(self, logs: Floats, targets: Integers) -> Floats:
        mixed, rows = self._mix(logs), np.arange(len(targets))
        means = np.einsum("tv,mtv->mt", mixed, logs)
        gradient = (means - logs[:, rows, targets]).sum(1)
        self._curvature += np.einsum("tv,mtv,ktv->mk", mixed, logs, logs, optimize=True) - means @ means.T
        self.powers = np.clip(self.powers - np.linalg.solve(self._curvature, gradient), 0, MOST)
        likelihoods: Floats = mixed[rows, targets]
        return likelihoods


def fit_factor(logits: Floats, others: Floats, labels: Integers) -> float:
    """Return the factor in 0 … `MOST` for which `logits + factor * others` give the labels the highest probability.

    Args:
        logits: (documents, classes).
        others: (documents, classes), of another model.
        labels: (documents,).
    """
    rows, low, high = np.arange(len(labels)), 0.0, MOST

    def slope(factor: float) -> float:
        """The derivative of the cross entropy, which is convex."""
        mixed = logits + factor * others
        probabilities = np.exp(mixed - np.logaddexp.reduce(mixed, axis=1, keepdims=True))
        return float(((probabilities * others).sum(1) - others[rows, labels]).sum())

    if slope(low) >= 0:
        return low
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return high


def fit_factors(logits: Floats, others: Floats, labels: Integers) -> tuple[float, float]:
    """Return the factors in 0 … `MOST` of two models' logits whose sum gives the labels the highest probability. The
    arguments are those of `fit_factor`, which fits one after the other: the cross entropy is convex in both."""
    factor = 1.0
    for _ in range(ROUNDS):
        own = fit_factor(factor * others, logits, labels)
        factor = fit_factor(own * logits, others, labels)
    return own, factor


def _maximise(likelihoods: Floats, cells: Integers, weights: Floats, prior: float) -> Floats:
    before = prior * weights
    sizes = np.bincount(cells, minlength=len(weights))[:, None] + prior
    for _ in range(ITERATIONS):
        shares = weights[cells] * likelihoods
        shares /= shares.sum(1, keepdims=True)
        sums = [np.bincount(cells, share, minlength=len(weights)) for share in shares.T]
        weights = (np.stack(sums, axis=1) + before) / sizes
    return weights
