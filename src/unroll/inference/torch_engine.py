"""A classifier's logits by torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from unroll.inference.engines import Done, Logits, batches
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
        found: list[Logits] = []
        order: list[int] = []
        device = self.model.embedding.weight.device
        for places, ids, lengths in batches(rows, MAX_TOKENS):
            logits = self.model(torch.from_numpy(ids).to(device), torch.from_numpy(lengths))
            found.append(logits.cpu().numpy())
            order += places
            if done is not None:
                done(len(order))
        return np.concatenate(found)[np.argsort(order)]
