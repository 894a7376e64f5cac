"""A classifier's figures on labelled documents, alone and mixed with counted n-grams."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from unroll import progress
from unroll.batching.documents import Documents, wide
from unroll.config import ClassificationDataConfig
from unroll.corpora.files import TextFile, read_rows
from unroll.corpora.labelled import find_corpus
from unroll.corpora.labels import label_ids
from unroll.errors import DataError
from unroll.ngrams.mixture import fit_factors
from unroll.ngrams.naive_bayes import NaiveBayesNGrams
from unroll.progress import begin
from unroll.tasks.classification_data import ClassificationData
from unroll.tasks.metrics import classification_metrics, per_class

if TYPE_CHECKING:
    from unroll.inference.classify import LoadedClassifier


def read(model: LoadedClassifier, path: Path, split: str) -> Documents:
    """Return the labelled documents of a table, or of a folder's table of that split.

    Raises:
        DataError: they can't be had, or a label is none of the model's.
    """
    file = _table(path, split, model.config.data)
    labels: list[int | str] = []

    def texts() -> Iterator[str]:
        for row in read_rows(file):
            labels.append(row.label)
            yield row.text

    ids = [model.read_ids(text) for text in texts()]
    return _documents(ids, label_ids(labels, model.labels, file))


def score(model: LoadedClassifier, documents: Documents) -> dict[str, float]:
    """Return `accuracy`, `f1`, `auroc`, `loss` (nats), `examples`, and for each class its `precision/NAME`,
    `recall/NAME` and `f1/NAME`; see `unroll.tasks.metrics`."""
    with begin("evaluating", len(documents), "documents") as task:
        logits = model.logits(documents, task)
    return _all_figures(model, logits, torch.from_numpy(wide(documents.labels)))


def score_mixed(model: LoadedClassifier, documents: Documents, data: ClassificationData) -> dict[str, float]:
    """Return the figures of `score`, those of `NaiveBayesNGrams` of the training documents as `ngram_*`, and as
    `mixed_*` those of both together: the sum of the model's logits, times `net_factor`, and the n-grams', times
    `ngram_factor`. The factors are fitted on the validation documents."""
    progress.say("fitting the n-grams of the training documents, and two factors on validation")
    ngrams = NaiveBayesNGrams(data.train, len(model.labels))
    own = model.logits(data.val).double().numpy()
    own_factor, factor = fit_factors(own, ngrams.logits(data.val), wide(data.val.labels))
    logits, by_ngrams = model.logits(documents), torch.from_numpy(ngrams.logits(documents))
    targets = torch.from_numpy(wide(documents.labels))
    figures = _all_figures(model, logits, targets)
    for name, mixture in {"ngram": by_ngrams, "mixed": own_factor * logits.double() + factor * by_ngrams}.items():
        figures |= {f"{name}_{key}": value for key, value in _figures(mixture, targets).items()}
    return figures | {"net_factor": own_factor, "ngram_factor": factor}


def _all_figures(model: LoadedClassifier, logits: Tensor, targets: Tensor) -> dict[str, float]:
    """The figures of `score`."""
    figures = _figures(logits, targets) | {"examples": len(targets)}
    return figures | {name: float(value) for name, value in per_class(model.labels)(logits, targets).items()}


def _figures(logits: Tensor, targets: Tensor) -> dict[str, float]:
    figures = classification_metrics(logits.size(1))(logits, targets)
    figures["loss"] = F.cross_entropy(logits, targets)
    return {name: float(value) for name, value in figures.items()}


def _documents(ids: Sequence[npt.NDArray[np.int32]], labels: npt.NDArray[np.int64]) -> Documents:
    lengths = np.array([len(row) for row in ids], dtype=np.int64)
    return Documents(np.concatenate(ids), np.cumsum(lengths) - lengths, lengths, labels)


def _table(path: Path, split: str, data: ClassificationDataConfig) -> TextFile:
    """The table at a path, or the test table of a folder, read by the settings that the model was trained with."""
    names = ("text_column", "label_column", "encoding", "max_characters")
    columns: Any = {name: getattr(data, name) for name in names}
    if not path.is_dir():
        return TextFile((path,), **columns)
    if split != "test":
        raise DataError(f"{path}: a folder gives --split test; name the table of another split itself")
    test = find_corpus("local", path, path, **columns).test
    if test is None:
        raise DataError(f"{path}: no test.* table in this folder; name a table itself")
    return test
