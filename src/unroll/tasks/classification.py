"""The LightningModule of text classification."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from unroll.batching.documents import Batch
from unroll.config import ClassificationConfig
from unroll.models.classifier import build_classifier
from unroll.tasks.data import ClassificationData
from unroll.tasks.metrics import classification_metrics
from unroll.tasks.task import Task, widened


class Classification(Task):
    """Cross entropy over classes; accuracy, macro-averaged F1, and AUROC of one class against the rest."""

    monitor, monitor_mode = "val/accuracy", "max"
    shown, unit = ("loss", "accuracy"), "tokens"

    def __init__(self, config: ClassificationConfig, data: ClassificationData, total_steps: int | None) -> None:
        """Build an untrained model for `data`, which is not kept; see `Task` for the others."""
        about = {
            "tokenizer": config.data.tokenizer,
            "vocabulary": list(data.vocabulary.tokens),
            "labels": list(data.labels),
            "data": data.describe(),
        }
        model = build_classifier(config, len(data.vocabulary), len(data.labels))
        super().__init__(config, model, about, total_steps)
        self.metrics = {split: classification_metrics(len(data.labels)) for split in ("val", "test")}

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        logits = self.model(batch.ids, batch.lengths)
        correct = (logits.detach().argmax(-1) == batch.labels).float().mean()
        loss = F.cross_entropy(widened(logits), batch.labels)
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
        self.metrics[split].update(logits, batch.labels)
        self.log(f"{split}/loss", losses.mean(), batch_size=len(batch.labels), on_step=False, on_epoch=True)
        return {"losses": losses, "probabilities": logits.softmax(-1), "labels": batch.labels}

    def on_validation_epoch_end(self) -> None:
        self._log_metrics("val")

    def on_test_epoch_end(self) -> None:
        self._log_metrics("test")

    def _log_metrics(self, split: str) -> None:
        self.log_dict({f"{split}/{name}": value for name, value in self.metrics[split].compute().items()})
        self.metrics[split].reset()
