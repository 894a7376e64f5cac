"""The LightningModule of pretraining: language models of documents, forwards and backwards."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from unroll import ranks
from unroll.batching.documents import Batch
from unroll.batching.part import share_of
from unroll.config import PretrainingConfig
from unroll.models.pretraining import build_document_language_model, draw, sampling_chances
from unroll.tasks.metrics import MeanLoss
from unroll.tasks.module import TaskModule
from unroll.tasks.pretraining_data import PretrainingData


class Pretraining(TaskModule):
    """Cross entropy of the next word in each direction's order: in training over some words that are drawn anew at each
    step, in validation and test over the whole vocabulary."""

    monitor, monitor_mode = "val/loss", "min"
    shown = ("loss",)
    config: PretrainingConfig

    def __init__(self, config: PretrainingConfig, data: PretrainingData, total_steps: int | None) -> None:
        """Build an untrained model for `data`; see `TaskModule`."""
        model = build_document_language_model(config, len(data.vocabulary))
        super().__init__(config, model, data, total_steps, lambda: [WordMetrics()])
        if (number := config.model.sampled_words) is not None:
            self.chances: Tensor
            chances = sampling_chances(torch.from_numpy(data.word_counts), number)
            self.register_buffer("chances", chances, persistent=False)

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        vectors, targets = self.model(batch.ids, batch.lengths)
        if self.config.model.sampled_words is None:
            losses = self.model.losses(vectors, targets)
        else:
            losses = self.model.sampled_losses(vectors, targets, draw(self.chances), self.chances.float())
        predicted = len(losses) if share_of(batch.part) else 0
        mean = losses.mean() if len(losses) else losses.sum()  # of documents of a single word
        return {"loss": mean * ranks.share(predicted)}

    def evaluate(self, batch: Batch, split: str) -> None:
        losses = self.model.losses(*self.model(batch.ids, batch.lengths))
        for metric in self.metrics[split]:
            metric.update(losses)


class WordMetrics(MeanLoss):
    """Means over predicted words, both directions together."""

    def compute(self) -> dict[str, float]:
        """Return `loss` (nats per word) and `perplexity`."""
        nats = super().compute()["loss"]
        return {"loss": nats, "perplexity": math.exp(nats) if nats < 700 else math.inf}
