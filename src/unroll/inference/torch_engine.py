"""A classifier's logits by torch."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from unroll.inference.engines import Batch, Done, Logits, batches, joined
from unroll.models.classifier import TextClassifier
from unroll.text.codec import Ids

MAX_TOKENS = 2**15  # in a batch, padding counted


class TorchEngine:
    """Calls the model itself, where its weights are."""

    name = "torch"

    def __init__(self, model: TextClassifier) -> None:
        self.model = model

    @torch.inference_mode()
    def logits(self, rows: Sequence[Ids], done: Done = None) -> Logits:
        return joined(map(self._run, batches(rows, MAX_TOKENS)), done)

    def _run(self, batch: Batch) -> tuple[list[int], Logits]:
        ids = torch.from_numpy(batch.ids).to(self.model.embedding.weight.device)
        return batch.places, self.model(ids, torch.from_numpy(batch.lengths)).cpu().numpy()
