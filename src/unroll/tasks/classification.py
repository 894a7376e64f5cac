"""The LightningModule of text classification."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from unroll.batching.documents import Batch
from unroll.config import ClassificationConfig
from unroll.models.classifier import build_classifier
from unroll.tasks.classification_data import ClassificationData
from unroll.tasks.metrics import classification_metrics, per_class
from unroll.tasks.module import TaskModule, widened


class Classification(TaskModule):
    """Cross entropy over classes. The metrics are accuracy, macro-averaged F1, AUROC (one class against the rest), and
    the precision, recall and F1 of each class."""

    monitor, monitor_mode = "val/accuracy", "max"
    shown = ("loss", "accuracy")
    config: ClassificationConfig

    def __init__(self, config: ClassificationConfig, data: ClassificationData, total_steps: int | None) -> None:
        """Build an untrained model for `data`; see `TaskModule`."""
        classes = len(data.labels)
        model = build_classifier(config, len(data.vocabulary), classes)
        super().__init__(
            config, model, data, total_steps, lambda: [classification_metrics(classes), per_class(data.labels)]
        )
        weights = None
        if config.data.class_weights == "balanced":
            weights = torch.from_numpy(len(data.train) / (classes * data.class_counts)).float()
        self.class_weights: Tensor | None  # (classes,), for the training loss
        self.register_buffer("class_weights", weights, persistent=False)

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        logits = self.model(batch.ids, batch.lengths)
        correct = (logits.detach().argmax(-1) == batch.labels).float().mean()
        logits = widened(logits)
        weights = None if self.class_weights is None else self.class_weights.to(logits.dtype)
        loss = F.cross_entropy(logits, batch.labels, weights)
        return {"loss": loss, "accuracy": correct, "padding": 1 - batch.lengths.sum() / batch.ids.numel()}

    def evaluate(self, batch: Batch, split: str) -> dict[str, Tensor]:
        logits = self.model(batch.ids, batch.lengths)
        losses = F.cross_entropy(logits, batch.labels, reduction="none")
        for metric in self.metrics[split]:
            metric.update(logits, batch.labels)
        self.log(f"{split}/loss", losses.mean(), batch_size=len(batch.labels), on_step=False, on_epoch=True)
        return {"losses": losses, "probabilities": logits.softmax(-1), "labels": batch.labels}
