"""The figures by which classifiers are judged, in training and after it."""

from __future__ import annotations

from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassAUROC, MulticlassF1Score


def classification_metrics(num_classes: int) -> MetricCollection:
    """Return accuracy (share of documents), F1 (mean over classes) and AUROC (one class against the rest, mean).

    They are updated with logits or probabilities (documents, classes) and labels (documents,).
    """
    return MetricCollection(
        {
            "accuracy": MulticlassAccuracy(num_classes, average="micro"),
            "f1": MulticlassF1Score(num_classes),
            "auroc": MulticlassAUROC(num_classes),
        }
    )
