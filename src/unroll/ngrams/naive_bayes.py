"""Documents classified by the words, pairs and triples in them, weighted by naive Bayes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from unroll.batching.documents import Documents, wide
from unroll.ngrams.kneser_ney import Floats, Ids, Integers

LONGEST = 3  # words in an n-gram
WEIGHTS = 2**22  # at most, of all n-grams and classes together; where there are more n-grams, some share a weight
ROOM = 4  # places in the table for each n-gram of the documents, as long as there are no more weights than that
PRIOR_COUNT, PRIOR_VARIANCE = 1.0, 1.0  # of an n-gram in a class, and of its weight
ITERATIONS, HISTORY = 30, 5  # of L-BFGS, and the steps that it remembers
FACTOR = np.uint64(0x9E3779B97F4A7C15)  # 2^64 divided by the golden ratio: it spreads keys evenly (Knuth)

Places = npt.NDArray[np.int32]


class NaiveBayesNGrams:
    """Logistic regression on which n-grams of 1 … 3 words a document has, each multiplied by its log-count ratio, which
    says how much more frequent it is in a class than in the others (Wang & Manning 2012, "Baselines and Bigrams", with
    logistic loss).

    The first class has the logit 0, every other class has weights of its own. N-grams are hashed into a table of fixed
    size (Weinberger et al. 2009, arXiv:0902.2206).
    """

    def __init__(self, documents: Documents, num_classes: int) -> None:
        """Fit the model.

        Args:
            documents: with labels below `num_classes`.
            num_classes: at least 2.
        """
        others = num_classes - 1
        ngrams = LONGEST * int(documents.lengths.sum())
        self._bits = int(np.log2(max(2, min(WEIGHTS // others, ROOM * ngrams))))
        places, sizes = self._ngrams(documents)
        counts = np.full((num_classes, 2**self._bits), PRIOR_COUNT, dtype=np.float32)
        for label, count in enumerate(counts):
            count += np.bincount(places[np.repeat(documents.labels == label, sizes)], minlength=len(count))
        rest = counts.sum(0) - others * PRIOR_COUNT  # of all classes, and one prior count of the other classes
        self._ratios = np.stack([_log_shares(count) - _log_shares(rest - count + PRIOR_COUNT) for count in counts[1:]])
        self._weights = np.zeros_like(self._ratios)
        self._biases = np.zeros(others, dtype=np.float32)
        self._fit(places, sizes, wide(documents.labels))

    def logits(self, documents: Documents) -> Floats:
        """Return the logits (documents, classes)."""
        return self._logits(*self._ngrams(documents))

    def _fit(self, places: Places, sizes: Integers, labels: Integers) -> None:
        """Maximise the likelihood of the labels, and of weights that are normal around 0, by L-BFGS."""
        weights, biases = torch.from_numpy(self._weights), torch.from_numpy(self._biases)  # they share their memory
        optimizer = torch.optim.LBFGS(
            [weights, biases], max_iter=ITERATIONS, history_size=HISTORY, line_search_fn="strong_wolfe"
        )
        rows, documents = np.arange(len(labels)), len(labels)

        def loss() -> float:
            """Return the loss, a document's share of it, and leave its gradient where the optimiser looks for it."""
            logits = self._logits(places, sizes)
            logits -= np.logaddexp.reduce(logits, axis=1, keepdims=True)
            errors = np.exp(logits)
            errors[rows, labels] -= 1
            errors = errors[:, 1:] / documents
            gradient = self._weights / (PRIOR_VARIANCE * documents)
            for row, ratios, error in zip(gradient, self._ratios, errors.T, strict=True):
                row += ratios * np.bincount(places, np.repeat(error, sizes), len(row))
            weights.grad, biases.grad = torch.from_numpy(gradient), torch.from_numpy(errors.sum(0).astype(np.float32))
            penalty = float(np.square(self._weights, dtype=np.float64).sum()) / (2 * PRIOR_VARIANCE * documents)
            return penalty - float(logits[rows, labels].mean())

        optimizer.step(loss)

    def _logits(self, places: Places, sizes: Integers) -> Floats:
        starts, logits = np.cumsum(sizes) - sizes, np.zeros((len(sizes), len(self._biases) + 1))
        for column, (ratios, weights, bias) in enumerate(
            zip(self._ratios, self._weights, self._biases, strict=True), 1
        ):
            logits[:, column] = np.add.reduceat((ratios * weights)[places], starts, dtype=np.float64) + bias
        return logits

    def _ngrams(self, documents: Documents) -> tuple[Places, Integers]:
        """Return the places in the table of each document's n-grams, one document after the other, and their numbers
        (documents,). A place comes once a document."""
        found = [_places(documents.document(row), self._bits) for row in range(len(documents))]
        return np.concatenate(found), np.array([len(places) for places in found])


def _places(ids: Ids, bits: int) -> Places:
    keys = words = ids.astype(np.uint64) + np.uint64(1)
    ngrams = [words]
    for length in range(1, min(LONGEST, len(words))):
        keys = keys[:-1] * FACTOR + words[length:]
        ngrams.append(keys)
    return np.unique((np.concatenate(ngrams) * FACTOR >> np.uint64(64 - bits)).astype(np.int32))


def _log_shares(counts: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    shares: npt.NDArray[np.float32] = np.log(counts / counts.sum(dtype=np.float64)).astype(np.float32)
    return shares
