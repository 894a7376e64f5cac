"""A classifier's logits by torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch

from unroll.inference.engines import Batch, Logits, T, alike, in_batches
from unroll.models.classifier import TextClassifier
from unroll.text.codec import Ids

MAX_TOKENS = 2**15  # in a batch, padding counted


class TorchEngine:
    """Calls the model itself, where its weights are."""

    name = "torch"

    def __init__(self, model: TextClassifier) -> None:
        self.model = model

    @torch.inference_mode()
    def logits(self, rows: Sequence[Ids]) -> Logits:
        return in_batches(self._run, rows, MAX_TOKENS)

    def share(self, work: Callable[[list[int]], T], sizes: Sequence[int]) -> Iterator[tuple[list[int], T]]:
        return ((group, work(group)) for group in alike(sizes, MAX_TOKENS))

    def _run(self, batch: Batch) -> Logits:
        ids = torch.from_numpy(batch.ids).to(self.model.embedding.weight.device)
        logits: Logits = self.model(ids, torch.from_numpy(batch.lengths)).cpu().numpy()
        return logits
