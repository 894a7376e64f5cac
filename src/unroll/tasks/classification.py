"""The LightningModule of text classification."""

from __future__ import annotations

import platform
from importlib import metadata
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.nn import functional as F
from torch.optim import Optimizer

import unroll
from unroll import checkpoint
from unroll.batching.documents import Batch
from unroll.config import Config, to_dict
from unroll.models.classifier import build_classifier
from unroll.tasks.data import ClassificationData
from unroll.tasks.metrics import classification_metrics
from unroll.tasks.optimization import build_optimizer, build_schedule

MONITOR = "val/accuracy"  # what the best checkpoint is best at; higher is better


class Classification(LightningModule):
    """Cross entropy over classes; accuracy, macro-averaged F1, and AUROC of one class against the rest."""

    def __init__(self, config: Config, data: ClassificationData, total_steps: int | None) -> None:
        """Build an untrained model for `data`.

        Args:
            config: all settings of the run.
            data: gives the vocabulary, the classes, and what checkpoints say of their origin; it is not kept.
            total_steps: optimiser steps of the whole run, for the schedule; None where nobody knows.
        """
        super().__init__()
        self.config, self.total_steps = config, total_steps
        self.about_data = {
            "vocabulary": list(data.vocabulary.tokens),
            "labels": list(data.labels),
            "data": data.describe(),
        }
        self.model = build_classifier(config, len(data.vocabulary), len(data.labels))
        self.metrics = {split: classification_metrics(len(data.labels)) for split in ("val", "test")}
        self.gradient: dict[str, Tensor] = {}  # of this step: its norm before clipping, and whether it was clipped

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        logits = self.model(batch.ids, batch.lengths)
        correct = (logits.detach().argmax(-1) == batch.labels).float().mean()
        return {"loss": F.cross_entropy(logits.float(), batch.labels), "accuracy": correct}

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

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip as Lightning does, though it refuses fused optimisers, and note the norm of the whole gradient: of every
        step where it is needed for clipping, else of one in `log_every_n_steps`."""
        self.gradient = {}
        if not gradient_clip_val and self.global_step % self.config.trainer.log_every_n_steps:
            return
        parameters = [parameter for parameter in self.parameters() if parameter.grad is not None]
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        self.gradient = {"gradient_norm": norm}
        if gradient_clip_val and gradient_clip_algorithm == "value":
            largest = torch.nn.utils.get_total_norm(gradients, norm_type=torch.inf)
            self.gradient["clipped"] = (largest > gradient_clip_val).float()
            torch.nn.utils.clip_grad_value_(parameters, gradient_clip_val)
        elif gradient_clip_val:
            self.gradient["clipped"] = (norm > gradient_clip_val).float()
            torch.nn.utils.clip_grads_with_norm_(parameters, gradient_clip_val, norm)

    def configure_optimizers(self) -> Any:
        optimizer = build_optimizer(self.model, self.config.optimizer)
        schedule = build_schedule(optimizer, self.total_steps or 1, self.config.optimizer)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint_: dict[str, Any]) -> None:
        """Add all that a model needs to be used where nothing else of this run is at hand."""
        checkpoint_ |= {
            "format": checkpoint.FORMAT,
            "task": self.config.task,
            "config": to_dict(self.config),
            "tokenizer": self.config.data.tokenizer,
            **self.about_data,
            "versions": versions(),
        }


def versions() -> dict[str, str]:
    """Return the versions that a result depends on."""
    return {
        "unroll": unroll.__version__,
        "torch": metadata.version("torch"),
        "lightning": metadata.version("lightning"),
        "python": platform.python_version(),
    }
