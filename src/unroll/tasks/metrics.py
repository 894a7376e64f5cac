"""Metrics of both tasks, in training and after it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassAUROC,
    MulticlassF1Score,
    MulticlassPrecision,
    MulticlassRecall,
)
from torchmetrics.wrappers import ClasswiseWrapper

from unroll.shown import shown
from unroll.text.codec import TokenSize

LONGEST = 80  # characters of a class's name


def classification_metrics(num_classes: int) -> MetricCollection:
    """Return accuracy (share of documents), F1 (mean over classes) and AUROC (each class against the rest, mean).

    Update them with logits or probabilities (documents, classes) and labels (documents,).
    """
    return MetricCollection(
        {
            "accuracy": MulticlassAccuracy(num_classes, average="micro"),
            "f1": MulticlassF1Score(num_classes),
            "auroc": MulticlassAUROC(num_classes),
        }
    )


def per_class(labels: Sequence[str]) -> MetricCollection:
    """Return precision, recall and F1 of each class: `precision/NAME`, `recall/NAME`, `f1/NAME`.

    Update them as `classification_metrics`. A class that is never predicted has precision 0, and one that never occurs
    has recall 0. Names are safe to show, see `unroll.shown`; if that makes two alike, each has its number in front.
    """
    names = [shown(label, LONGEST) for label in labels]
    if len(set(names)) < len(names):
        names = [f"{number} {name}" for number, name in enumerate(names)]
    metrics = {"precision": MulticlassPrecision, "recall": MulticlassRecall, "f1": MulticlassF1Score}
    return MetricCollection(
        {
            name: ClasswiseWrapper(metric(len(names), average=None), names, prefix=f"{name}/")
            for name, metric in metrics.items()
        },
        compute_groups=False,  # in a group, a wrapped metric would give the figures of its last `compute` again
    )


class MeanLoss(Metric):
    """The mean of losses, summed in float64."""

    full_state_update = False
    nats: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("nats", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, losses: Tensor) -> None:
        """Add losses, in nats."""
        self.nats = self.nats + losses.sum(dtype=torch.float64)
        self.count = self.count + losses.numel()

    def compute(self) -> dict[str, float]:
        """Return `loss`."""
        return {"loss": float(self.nats) / max(1, int(self.count))}


class StreamMetrics(Metric):
    """Metrics of a language model on one text: means over its tokens, characters and bytes, summed in float64."""

    full_state_update = False
    nats: Tensor
    correct: Tensor
    count: Tensor

    def __init__(self, size: TokenSize | None = None) -> None:
        """Take the mean size of the text's tokens; without it, a token is a character of one byte."""
        super().__init__(sync_on_compute=False)  # every rank reads the whole text
        self.size = size or TokenSize()
        self.add_state("nats", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("correct", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, logits: Tensor, targets: Tensor) -> None:
        """Add tokens.

        Args:
            logits: (batch, time, vocabulary).
            targets: (batch, time), the ids of the next tokens.
        """
        losses = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
        # Not in place: a module cast to half precision casts its states too, and this sum is float64 in any case.
        self.nats = self.nats + losses.sum(dtype=torch.float64)
        self.correct = self.correct + (logits.argmax(-1) == targets).sum()
        self.count = self.count + targets.numel()

    def compute(self) -> dict[str, float]:
        """Return `bpc` (bits per character, see `TokenSize`), `loss` (nats per token), `perplexity` (of a token),
        `accuracy` (share of the tokens that had the highest probability) and `bpb` (bits per byte in UTF-8)."""
        count = max(1, int(self.count))
        nats = float(self.nats) / count
        return {
            "bpc": self.size.bits(nats) / self.size.characters,
            "loss": nats,
            "perplexity": math.exp(nats) if nats < 700 else math.inf,
            "accuracy": int(self.correct) / count,
            "bpb": self.size.bits(nats) / self.size.bytes,
        }
