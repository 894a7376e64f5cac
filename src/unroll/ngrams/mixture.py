"""How much each model counts in a mixture: of probabilities, or of logits; and how sure a model should be."""

from __future__ import annotations

import numpy as np

from unroll.ngrams.kneser_ney import Floats, Integers

PRIOR = 10.0  # symbols that the weights of all cells together count for in each cell
ITERATIONS = 100
MOST = 16.0  # for the factor of logits; without a bound it would be infinite where all labels are predicted
ROUNDS = 100  # of fitting two factors in turns
TEMPERATURES = np.geomspace(0.5, 2, 13)  # that are tried; the best may lie between two of them


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


def tempered_losses(probabilities: Floats, targets: Integers) -> Floats:
    """Return the summed cross entropy of symbols, in nats, at each of `TEMPERATURES`, (temperatures,).

    Args:
        probabilities: (time, vocabulary).
        targets: (time,), the symbols that came.
    """
    with np.errstate(divide="ignore"):  # what can't come has a logit of -inf at every temperature
        logits = np.log(probabilities)
    rows = np.arange(len(targets))
    return np.array(
        [(np.logaddexp.reduce(logits / each, axis=1) - logits[rows, targets] / each).sum() for each in TEMPERATURES]
    )


def fit_temperature(losses: Floats) -> float:
    """Return the temperature by which to divide logits so that they give a text the highest probability (Guo et al.
    2017, arXiv:1706.04599), from its `tempered_losses`: where the parabola through the three best ones is lowest."""
    best = min(max(1, int(losses.argmin())), len(losses) - 2)
    scale, nearest = np.log(TEMPERATURES[best - 1 : best + 2]), losses[best - 1 : best + 2]
    if nearest[1] > min(nearest[0], nearest[2]):  # the best is the first or the last of all
        return float(TEMPERATURES[losses.argmin()])
    curvature, slope, _ = np.polyfit(scale - scale[1], nearest - nearest[1], 2)
    return float(np.exp(scale[1] - slope / (2 * curvature))) if curvature > 0 else float(TEMPERATURES[best])


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
