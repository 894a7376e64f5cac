"""The LightningModule of text classification."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from unroll import ranks
from unroll.batching.documents import Batch
from unroll.batching.mixed import MixedBatch
from unroll.batching.part import share_of
from unroll.config import ClassificationConfig
from unroll.models.classifier import build_classifier
from unroll.tasks.adversarial import Reading, adversarial_loss, entropy, mean, virtual_loss
from unroll.tasks.classification_data import ClassificationData
from unroll.tasks.metrics import MeanLoss, classification_metrics, per_class
from unroll.tasks.module import TaskModule, widened


class Classification(TaskModule):
    """Cross entropy over classes, and the further losses of `ObjectiveConfig`. The metrics are accuracy, macro-averaged
    F1, AUROC (one class against the rest), and the precision, recall and F1 of each class."""

    monitor, monitor_mode = "val/accuracy", "max"
    shown = ("loss", "accuracy")
    config: ClassificationConfig

    def __init__(self, config: ClassificationConfig, data: ClassificationData, total_steps: int | None) -> None:
        """Build an untrained model for `data`; see `TaskModule`."""
        classes = len(data.labels)
        model = build_classifier(config, len(data.vocabulary), classes)
        super().__init__(
            config,
            model,
            data,
            total_steps,
            lambda: [MeanLoss(), classification_metrics(classes), per_class(data.labels)],
        )
        weights = None
        if config.data.class_weights == "balanced":
            weights = torch.from_numpy(len(data.train) / (classes * data.class_counts)).float()
        self.class_weights: Tensor | None  # (classes,), for the training loss
        self.register_buffer("class_weights", weights, persistent=False)

    def training_step(self, batch: Batch | MixedBatch, batch_idx: int) -> dict[str, Tensor]:
        labelled, *unlabelled = batch if isinstance(batch, MixedBatch) else [batch]
        objective, readings = self.config.objective, []
        if objective.adversarial or objective.virtual or objective.entropy:
            readings = [Reading(self.model, documents) for documents in (labelled, *unlabelled)]
        logits = readings[0].logits if readings else self.model(labelled.ids, labelled.lengths)
        correct = (logits.detach().argmax(-1) == labelled.labels).float().mean()
        logits = widened(logits)
        weights = None if self.class_weights is None else self.class_weights.to(logits.dtype)
        share = share_of(labelled.part)
        padding = 1 - labelled.lengths.sum() / labelled.ids.numel()
        figures = {"accuracy": correct * share, "padding": padding * share}
        if weights is not None and labelled.part is not None:  # then the loss is a mean over these
            share = ranks.share(weights[labelled.labels].sum() if share else 0.0)
        loss = F.cross_entropy(logits, labelled.labels, weights) * share
        # Sachan et al. 2019, arXiv:2009.04007, section 3: a weighted sum of up to four losses.
        if objective.adversarial:
            at, figures["adversarial_dropped"] = adversarial_loss(
                readings[0], labelled.labels, objective.epsilon, weights
            )
            loss, figures["adversarial"] = loss + objective.adversarial * at, at
        if objective.virtual:
            vat, figures["virtual_dropped"] = virtual_loss(readings, objective.epsilon, objective.xi)
            loss, figures["virtual"] = loss + objective.virtual * vat, vat
        if objective.entropy:
            logits = torch.cat([reading.logits for reading in readings])
            em = mean(entropy(logits), torch.cat([reading.weights for reading in readings]))
            loss, figures["entropy"] = loss + objective.entropy * em, em
        return {"loss": loss, **figures}

    def evaluate(self, batch: Batch, split: str) -> dict[str, Tensor]:
        logits = self.model(batch.ids, batch.lengths)
        losses = F.cross_entropy(logits, batch.labels, reduction="none")
        loss, *metrics = self.metrics[split]
        loss.update(losses)
        for metric in metrics:
            metric.update(logits, batch.labels)
        return {"losses": losses, "probabilities": logits.softmax(-1), "labels": batch.labels}
