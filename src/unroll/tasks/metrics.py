"""The figures by which models are judged, in training and after it."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F
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


class StreamMetrics:
    """The figures of a language model on one text, weighted by characters and summed in float64."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all characters."""
        self._nats, self._correct, self._count = 0.0, 0, 0

    def update(self, logits: Tensor, targets: Tensor) -> None:
        """Add characters.

        Args:
            logits: (batch, time, vocabulary).
            targets: (batch, time), the ids that came next.
        """
        losses = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
        self._nats += float(losses.sum(dtype=torch.float64))
        self._correct += int((logits.argmax(-1) == targets).sum())
        self._count += targets.numel()

    def compute(self) -> dict[str, float]:
        """Return `bpc` (bits per character), `loss` (nats per character), `perplexity` (of a character) and `accuracy`
        (share of characters that were the likeliest)."""
        nats = self._nats / max(1, self._count)
        return {
            "bpc": nats / math.log(2),
            "loss": nats,
            "perplexity": math.exp(nats) if nats < 700 else math.inf,
            "accuracy": self._correct / max(1, self._count),
        }
