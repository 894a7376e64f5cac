"""Pictures of a classifier's mistakes, against counts by hand; names from outside are shown as they are."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib import pyplot

from unroll.training.callbacks import pictures
from unroll.training.callbacks.pictures import ClassificationPictures, confusion_matrix, precision_recall

NAMES = tuple(f"class {number}" for number in range(12))


def predictions(classes: int, rows: int = 60) -> tuple[torch.Tensor, torch.Tensor]:
    labels = torch.arange(rows) % classes
    logits = torch.randn(rows, classes)
    logits[torch.arange(rows), labels] += 1
    return logits.softmax(-1), labels


@pytest.mark.parametrize("classes", [2, 12])
def test_a_confusion_matrix_counts_what_was_taken_for_what(classes: int) -> None:
    probabilities, labels = predictions(classes)
    counts = np.zeros((classes, classes))
    for label, row in zip(labels.tolist(), probabilities.tolist(), strict=True):
        counts[label, row.index(max(row))] += 1
    figure = confusion_matrix(probabilities, labels, NAMES[:classes])
    axes, bar = figure.axes
    assert np.array_equal(axes.images[0].get_array(), counts)
    assert [int(text.get_text()) for text in axes.texts] == counts.flatten().tolist()
    assert axes.get_title() == f"60 documents, {counts.trace() / 60:.1%} right"
    assert (axes.get_ylabel(), axes.get_xlabel(), bar.get_ylabel()) == ("True class", "Predicted class", "documents")
    for axis in (axes.xaxis, axes.yaxis):
        assert [text.get_text() for text in axis.get_ticklabels()] == list(NAMES[:classes])


@pytest.mark.parametrize("classes", [2, 3, 12])
def test_a_curve_has_precision_and_recall_at_every_threshold(classes: int) -> None:
    probabilities, labels = predictions(classes)
    figure = precision_recall(probabilities, labels, NAMES[:classes])
    (axes,) = figure.axes
    shown = [1] if classes == 2 else list(range(min(classes, 10)))
    legend = axes.get_legend()
    assert legend is not None
    for number, line, text in zip(shown, axes.lines, legend.get_texts(), strict=True):
        scores, hits = probabilities[:, number], labels == number
        expected, area, before = {(0.0, 1.0)}, 0.0, 0.0
        for threshold in sorted(scores.tolist(), reverse=True):
            taken = scores >= threshold
            precision, recall = float(hits[taken].float().mean()), float((hits & taken).sum() / hits.sum())
            area, before = area + precision * (recall - before), recall
            expected.add((round(recall, 5), round(precision, 5)))
        points = zip(np.asarray(line.get_xdata()).tolist(), np.asarray(line.get_ydata()).tolist(), strict=True)
        assert {(round(x, 5), round(y, 5)) for x, y in points} == expected
        assert text.get_text() == f"class {number} (average precision {area:.3f})"
    assert ("the first 10 of 12 classes" in axes.get_title()) == (classes == 12)


def test_a_name_is_no_mathematics_and_no_picture_is_kept() -> None:
    names = ("$x^2$ and $\\frac{", "_hidden")
    probabilities, labels = predictions(2)
    for figure in (
        confusion_matrix(probabilities, labels, names),
        precision_recall(probabilities, labels, names[::-1]),
    ):
        figure.savefig(io.BytesIO(), format="png")  # mathematics of this kind would be an error
    assert pyplot.get_fignums() == []


def test_the_most_wrong_stand_first_and_nothing_in_them_is_markup(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "words", lambda data, row, vocabulary: f"row {row} <b>|")
    data: Any = SimpleNamespace(labels=("<i>", "good"), val=None, vocabulary=None)
    callback = ClassificationPictures(data)
    probabilities = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6]])
    table = callback._most_wrong(torch.tensor([2.5, 0.2, 1.5]), probabilities, torch.tensor([1, 1, 0]), [7, 8, 9])
    first, second, third = table.splitlines()[2:]
    assert first == "| 2.50 | good | &#60;i&#62; (90.0%) | row 7 &#60;b&#62;&#124; |"
    assert second.startswith("| 1.50 | &#60;i&#62; | good (60.0%) | row 9")
    assert third.startswith("| 0.20 ")
