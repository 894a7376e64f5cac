"""Pictures and tables of a classifier's mistakes, against counts by hand; names from outside are shown as they are."""

from __future__ import annotations

import io
import warnings
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib import pyplot
from matplotlib.figure import Figure

from unroll.training.callbacks import pictures
from unroll.training.callbacks.pictures import (
    ClassificationPictures,
    classes,
    confusion_matrix,
    largest_confusions,
    precision_recall,
)

pytestmark = pytest.mark.pictures

NAMES = tuple(f"class {number}" for number in range(12))
STRANGE = ("$x^2$ and $\\frac{", "_hidden", "中文", "مرحبا", "\x1b[31m", "two\nlines", "😀", "x" * 1000, "\ud800", "")


def predictions(number: int, rows: int = 60) -> tuple[torch.Tensor, torch.Tensor]:
    labels = torch.arange(rows) % number
    logits = torch.randn(rows, number)
    logits[torch.arange(rows), labels] += 1
    return logits.softmax(-1), labels


def count(probabilities: torch.Tensor, labels: torch.Tensor) -> np.ndarray:
    counts = np.zeros((probabilities.size(1),) * 2, dtype=int)
    for label, row in zip(labels.tolist(), probabilities.tolist(), strict=True):
        counts[label, row.index(max(row))] += 1
    return counts


def draw(figure: Figure) -> None:
    """Mathematics that is none would be an error, and a glyph that is missing a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.savefig(io.BytesIO(), format="png")


@pytest.mark.parametrize("number", [2, 5, 12])
def test_a_confusion_matrix_shows_what_was_taken_for_what(number: int) -> None:
    counts = count(*predictions(number))
    figure = confusion_matrix(torch.from_numpy(counts), NAMES[:number])
    axes, *bars = figure.axes
    np.testing.assert_allclose(axes.images[0].get_array(), counts / counts.sum(1, keepdims=True), rtol=1e-6)
    assert axes.get_title() == f"60 documents, {counts.trace() / 60:.1%} right"
    assert axes.get_ylabel().endswith("true class") and axes.get_xlabel().endswith("predicted class")
    if number > 10:
        assert [bar.get_ylabel() for bar in bars] == ["of the true class"]
        return
    assert [int(text.get_text()) for text in axes.texts] == counts.flatten().tolist()
    names = [text.get_text().rpartition(": ")[2] for text in axes.yaxis.get_ticklabels()]
    assert names == list(NAMES[:number])


@pytest.mark.parametrize("number", [2, 3, 12])
def test_a_curve_has_precision_and_recall_at_every_threshold(number: int) -> None:
    probabilities, labels = predictions(number)
    figure = precision_recall(probabilities, labels, NAMES[:number])
    (axes,), (legend,) = figure.axes, figure.legends
    curves, areas, best = {}, {}, []
    for k in range(number):
        scores, hits = probabilities[:, k], labels == k
        points, areas[k], before = {(0.0, 1.0)}, 0.0, 0.0
        for threshold in sorted(scores.tolist(), reverse=True):
            taken = scores >= threshold
            precision, recall = float(hits[taken].float().mean()), float((hits & taken).sum() / hits.sum())
            areas[k], before = areas[k] + precision * (recall - before), recall
            points.add((round(recall, 5), round(precision, 5)))
        curves[k] = points
        best.append([max(y for x, y in points if x >= round(recall, 5)) for recall in np.linspace(0, 1, 101)])
    shown = {2: [1], 3: [0, 1, 2], 12: sorted(areas, key=areas.__getitem__)[:10]}[number]
    lines, texts = axes.lines[: len(shown)], [text.get_text() for text in legend.get_texts()]
    if number == 12:
        assert texts.pop(0) == f"{np.mean(list(areas.values())):.3f}  mean of 12"
        np.testing.assert_allclose(axes.lines[-1].get_ydata(), np.mean(best, axis=0), atol=2e-5)
        assert axes.get_title() == "The 10 worst of 12 classes"
    assert texts == [f"{areas[k]:.3f}  class {k}" for k in shown]
    for k, line in zip(shown, lines, strict=True):
        found = zip(np.asarray(line.get_xdata()).tolist(), np.asarray(line.get_ydata()).tolist(), strict=True)
        assert {(round(x, 5), round(y, 5)) for x, y in found} == curves[k]


def test_a_class_without_a_document_has_no_curve() -> None:
    probabilities, labels = predictions(3)
    (legend,) = precision_recall(probabilities[labels != 1], labels[labels != 1], NAMES[:3]).legends
    assert [text.get_text()[-7:] for text in legend.get_texts()] == ["class 0", "class 2"]


@pytest.mark.parametrize("number", [2, 10, 60])
def test_any_name_can_be_drawn_and_no_picture_is_kept(number: int) -> None:
    names = (STRANGE * 6)[:number]
    probabilities, labels = predictions(number, rows=240)
    draw(confusion_matrix(torch.from_numpy(count(probabilities, labels)), names))
    draw(precision_recall(probabilities, labels, names))
    assert pyplot.get_fignums() == []


def test_the_largest_confusions_and_the_worst_classes_stand_first() -> None:
    counts = torch.tensor([[8, 2, 0], [5, 4, 1], [0, 0, 0]])
    names = ("good", "<b>", "never")
    rows = [row.strip("| ").split(" | ") for row in largest_confusions(counts, names).splitlines()[2:]]
    bold = "1: &#60;b&#62;"
    assert rows == [["5", "50%", bold, "0: good"], ["2", "20%", "0: good", bold], ["1", "10%", bold, "2: never"]]
    rows = [row.strip("| ").split(" | ") for row in classes(counts, names).splitlines()[2:]]
    assert rows == [
        ["2: never", "0", "0.000", "0.000", "0.000"],
        [bold, "10", "0.667", "0.400", "0.500"],
        ["0: good", "10", "0.615", "0.800", "0.696"],
    ]


def test_the_most_wrong_stand_first_and_nothing_in_them_is_markup(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "words", lambda data, row, vocabulary: f"row {row} <b>|")
    sampler = SimpleNamespace(sampler=[[7], [8, 9]])
    data: Any = SimpleNamespace(labels=("<i>", "good"), val=None, codec=None, val_dataloader=lambda: sampler)
    callback = ClassificationPictures(data)
    probabilities = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6]])
    table = callback._most_wrong(torch.tensor([2.5, 0.2, 1.5]), probabilities, torch.tensor([1, 1, 0]))
    first, second, third = table.splitlines()[2:]
    assert first == "| 2.50 | good | &#60;i&#62; (90.0%) | row 7 &#60;b&#62;&#124; |"
    assert second.startswith("| 1.50 | &#60;i&#62; | good (60.0%) | row 9")
    assert third.startswith("| 0.20 ")
