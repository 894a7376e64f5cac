"""The weights of n-grams against Newton's method on dense features, in float64."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from unroll.batching.documents import Documents
from unroll.ngrams import naive_bayes
from unroll.ngrams.naive_bayes import NaiveBayesNGrams

Array = npt.NDArray[np.float64]


WEIGHTS = 2**18


@pytest.fixture
def _large_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """In which each of the few n-grams here has a place of its own."""
    monkeypatch.setattr(naive_bayes, "WEIGHTS", WEIGHTS)
    monkeypatch.setattr(naive_bayes, "ROOM", WEIGHTS)


def documents(rows: list[list[int]], labels: list[int]) -> Documents:
    lengths = np.array([len(row) for row in rows])
    ids = np.concatenate([np.array(row, dtype=np.int32) for row in rows])
    return Documents(ids, np.cumsum(lengths) - lengths, lengths, np.array(labels))


def drawn(count: int, classes: int, seed: int) -> Documents:
    """Class c has more of the words c and c + 1 than the others."""
    random_ = random.Random(seed)
    labels = [random_.randrange(classes) for _ in range(count)]
    rows = [random_.choices([c, c + 1, *range(4)], k=random_.randint(1, 5)) for c in labels]
    return documents(rows, labels)


def ngrams(row: list[int]) -> set[tuple[int, ...]]:
    return {tuple(row[i : i + n]) for n in (1, 2, 3) for i in range(len(row) - n + 1)}


def by_hand(train: Documents, test: Documents, classes: int) -> Array:
    """Wang & Manning's features, and Newton's method. The prior count of a place counts for empty places, too."""
    rows = [ngrams(train.document(i).tolist()) for i in range(len(train))]
    known = sorted(set().union(*rows))
    size = 2 ** int(np.log2(WEIGHTS // (classes - 1)))

    def presence(data: list[set[tuple[int, ...]]]) -> Array:
        return np.array([[ngram in row for ngram in known] for row in data], dtype=float)

    x, y = presence(rows), np.eye(classes)[train.labels]
    ratios = []
    for c in range(1, classes):
        p, q = 1 + y[:, c] @ x, 1 + (1 - y[:, c]) @ x
        ratios.append(np.log(p / (p.sum() + size - len(known))) - np.log(q / (q.sum() + size - len(known))))

    def features(presences: Array) -> Array:
        """One row for each document and class: its features stand in the class's block, and a 1 for its bias."""
        blocks = np.zeros((len(presences), classes, classes - 1, len(known) + 1))
        for c, ratio in enumerate(ratios):
            blocks[:, c + 1, c] = np.hstack([presences * ratio, np.ones((len(presences), 1))])
        return blocks.reshape(len(presences), classes, -1)

    f = features(x)
    w = np.zeros(f.shape[2])
    penalty = np.tile([*[1.0] * len(known), 0.0], classes - 1)
    flat = f.reshape(-1, len(w))
    for _ in range(15):
        p = np.exp(f @ w)
        p /= p.sum(1, keepdims=True)
        mean = np.einsum("ncf,nc->nf", f, p)
        hessian = flat.T @ (p.reshape(-1, 1) * flat) - mean.T @ mean + np.diag(penalty)
        w = w - np.linalg.solve(hessian, flat.T @ (p - y).ravel() + penalty * w)
    seen: Any = features(presence([ngrams(test.document(i).tolist()) for i in range(len(test))])) @ w
    return np.asarray(seen)


@pytest.mark.usefixtures("_large_table")
@pytest.mark.parametrize("classes", [2, 3])
def test_the_logits_are_those_of_the_definition(classes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(naive_bayes, "ITERATIONS", 200)
    train, test = drawn(40, classes, seed=0), drawn(20, classes, seed=1)
    np.testing.assert_allclose(
        NaiveBayesNGrams(train, classes).logits(test), by_hand(train, test, classes), atol=2e-3, rtol=0
    )


@pytest.mark.usefixtures("_large_table")
def test_what_a_pair_says_is_learnt() -> None:
    """Each word is as frequent in one class as in the other: `not good`, `not bad`."""
    good, bad, no, yes = 2, 3, 4, 5
    rows = [[no, bad], [yes, good], [no, good], [yes, bad]] * 10
    model = NaiveBayesNGrams(documents(rows, [1, 1, 0, 0] * 10), 2)
    assert model.logits(documents(rows[:4], [0] * 4)).argmax(1).tolist() == [1, 1, 0, 0]


@pytest.mark.usefixtures("_large_table")
def test_a_document_is_the_set_of_its_ngrams() -> None:
    train = documents([[1], [1, 1], [1, 1, 1], [2], [2, 1], [1, 2]], [1, 0, 1, 0, 1, 0])
    logits = NaiveBayesNGrams(train, 2).logits(documents([[1], [1, 1], [1, 1, 1], [1] * 9], [0] * 4))
    assert logits[2].tolist() == logits[3].tolist()
    assert len(set(logits[:, 1].tolist())) == 3
    assert (logits[:, 0] == 0).all()


def test_the_table_is_no_larger_than_it_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """N-grams that share a weight make it worse, and break nothing."""
    train, test = drawn(200, 3, seed=0), drawn(200, 3, seed=1)
    shares = []
    for weights in (2, 2**14):
        monkeypatch.setattr(naive_bayes, "WEIGHTS", weights)
        shares.append(float((NaiveBayesNGrams(train, 3).logits(test).argmax(1) == test.labels).mean()))
    assert shares[0] < shares[1] - 0.1
