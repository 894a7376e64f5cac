"""The LightningModule of text classification."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unroll.batching.documents import Batch
from unroll.config import ClassificationConfig
from unroll.models.classifier import build_classifier
from unroll.tasks.classification_data import ClassificationData
from unroll.tasks.metrics import classification_metrics, per_class
from unroll.tasks.module import TaskModule, widened


class Classification(TaskModule):
    """Cross entropy over classes; accuracy, macro-averaged F1, AUROC of one class against the rest, and for each class
    its precision, recall and F1."""

    monitor, monitor_mode = "val/accuracy", "max"
    shown = ("loss", "accuracy")
    config: ClassificationConfig

    def __init__(self, config: ClassificationConfig, data: ClassificationData, total_steps: int | None) -> None:
        """Build an untrained model for `data`; see `TaskModule`."""
        model = build_classifier(config, len(data.vocabulary), len(data.labels))
        super().__init__(config, model, data, total_steps)
        self.metrics = nn.ModuleDict({split: classification_metrics(len(data.labels)) for split in ("val", "test")})
        self.class_metrics = nn.ModuleDict({split: per_class(data.labels) for split in ("val", "test")})
        weights = None
        if config.data.class_weights == "balanced":
            weights = torch.from_numpy(len(data.train) / (len(data.labels) * data.class_counts)).float()
        self.class_weights: Tensor | None  # (classes,), of the training loss
        self.register_buffer("class_weights", weights, persistent=False)

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        logits = self.model(batch.ids, batch.lengths)
        correct = (logits.detach().argmax(-1) == batch.labels).float().mean()
        logits = widened(logits)
        weights = None if self.class_weights is None else self.class_weights.to(logits.dtype)
        loss = F.cross_entropy(logits, batch.labels, weights)
        return {"loss": loss, "accuracy": correct, "padding": 1 - batch.lengths.sum() / batch.ids.numel()}

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        return self._evaluate(batch, "val")

    def test_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        return self._evaluate(batch, "test")

    def _evaluate(self, batch: Batch, split: str) -> dict[str, Tensor]:
        # In float32 whatever the training's precision, so that the figures are those of the checkpoint in use.
        with torch.autocast(self.device.type, enabled=False):
            logits = self.model(batch.ids, batch.lengths)
        losses = F.cross_entropy(logits, batch.labels, reduction="none")
        for metrics in self._metrics(split):
            metrics.update(logits, batch.labels)
        self.log(f"{split}/loss", losses.mean(), batch_size=len(batch.labels), on_step=False, on_epoch=True)
        return {"losses": losses, "probabilities": logits.softmax(-1), "labels": batch.labels}

    def on_validation_epoch_end(self) -> None:
        self._log_metrics("val")

    def on_test_epoch_end(self) -> None:
        self._log_metrics("test")

    def _log_metrics(self, split: str) -> None:
        for metrics in self._metrics(split):
            self.log_dict({f"{split}/{name}": value for name, value in metrics.compute().items()})
            metrics.reset()

    def _metrics(self, split: str) -> list[Any]:
        return [self.metrics[split], self.class_metrics[split]]
