"""Documents to pretrain on: a corpus's training texts, and its texts without labels."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import numpy.typing as npt
from torch import Tensor
from torch.utils.data import DataLoader

from unroll.batching.documents import Batch, Documents, Joined, narrow, wide
from unroll.batching.loader import ResumableLoader
from unroll.tasks.classification_data import ClassificationData, shared


class PretrainingData(ClassificationData):
    """A labelled corpus, split as for classification, so that no validation or test text is pretrained on."""

    @cached_property
    def documents(self) -> Documents:
        """The training documents and, after them, those without labels."""
        if self.unlabelled is None:
            return self.train
        train, others = self.train, self.unlabelled
        return Documents(
            ids=Joined(train.ids, others.ids),
            starts=narrow(np.concatenate([wide(train.starts), wide(others.starts) + len(train.ids)])),
            lengths=np.concatenate([train.lengths, others.lengths]),
            labels=np.concatenate([train.labels, others.labels]),
        )

    @property
    def word_counts(self) -> npt.NDArray[np.int64]:
        """How often `documents` holds each word, (vocabulary,)."""
        counts = np.zeros(len(self.vocabulary), dtype=np.int64)
        for ids in self.documents.together():
            counts += np.bincount(ids, minlength=len(counts))
        return counts

    def probe_rows(self) -> Tensor | None:
        return None  # the model has no loss at a single step

    def train_dataloader(self) -> DataLoader[Batch]:
        config, documents = self.config, self.documents
        sampler = self._sampler(documents, config.batch_size, config.max_tokens)
        return ResumableLoader(shared(documents), sampler, config.workers)
