"""Figures against counts by hand, in one update or several."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from unroll.tasks.metrics import StreamMetrics, classification_metrics, per_class

LABELS = ["bad", "so/so", "good", "never"]
# Rows: the true class; columns: the predicted class. The last class is never true and never predicted.
CONFUSION = [[3, 1, 0, 0], [2, 2, 1, 0], [0, 0, 4, 0], [0, 0, 0, 0]]


def batches() -> list[tuple[torch.Tensor, torch.Tensor]]:
    pairs = [(i, j) for i in range(4) for j in range(4) for _ in range(CONFUSION[i][j])]
    labels, taken = torch.tensor(pairs).T
    logits = nn.functional.one_hot(taken, 4).float()
    return list(zip(logits.split(5), labels.split(5), strict=True))


def test_each_class_has_its_precision_recall_and_f1() -> None:
    metrics = per_class(LABELS)
    assert isinstance(metrics, nn.Module)  # so that a model moves them to its device
    for again in range(2):
        for logits, labels in batches():
            metrics.update(logits, labels)
            figures = metrics.compute()  # a second call gives new figures
        expected = {}
        for k, name in enumerate(LABELS):
            hits, taken, there = CONFUSION[k][k], sum(row[k] for row in CONFUSION), sum(CONFUSION[k])
            expected[f"precision/{name}"] = hits / taken if taken else 0.0
            expected[f"recall/{name}"] = hits / there if there else 0.0
            expected[f"f1/{name}"] = 2 * hits / (taken + there) if taken + there else 0.0
        assert {name: float(value) for name, value in figures.items()} == pytest.approx(expected), again
        metrics.reset()


def test_the_figures_of_all_classes_are_as_before() -> None:
    metrics = classification_metrics(4)
    for logits, labels in batches():
        metrics.update(logits, labels)
    figures = {name: float(value) for name, value in metrics.compute().items()}
    f1 = [2 * 3 / 9, 2 * 2 / 8, 2 * 4 / 9]  # a class without rows and predictions does not count
    assert figures["accuracy"] == pytest.approx(9 / 13)
    assert figures["f1"] == pytest.approx(sum(f1) / 3)
    assert set(figures) == {"accuracy", "f1", "auroc"}


def test_a_text_is_summed_in_float64_whatever_the_module_is_cast_to() -> None:
    held = nn.ModuleDict({"val": StreamMetrics()})
    held.to(torch.bfloat16)
    metrics, nats, correct = held["val"], 0.0, 0
    for _ in range(300):
        logits, targets = torch.randn(2, 50, 7), torch.randint(7, (2, 50))
        metrics.update(logits, targets)
        losses = nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
        nats += float(losses.double().sum())
        correct += int((logits.argmax(-1) == targets).sum())
    loss = nats / 30_000
    assert metrics.compute() == {
        "bpc": loss / math.log(2),
        "loss": loss,
        "perplexity": math.exp(loss),
        "accuracy": correct / 30_000,
        "bpb": loss / math.log(2),
    }
    assert not held.state_dict()  # a checkpoint holds only weights
    metrics.reset()
    metrics.update(torch.full((1, 1, 2), 800.0) * torch.tensor([1.0, -1.0]), torch.ones(1, 1, dtype=torch.long))
    assert metrics.compute()["perplexity"] == math.inf
