"""A trained classifier in use: predictions for texts, figures for labelled ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from unroll.batching.documents import BucketSampler, Documents
from unroll.config import ClassificationConfig
from unroll.models.classifier import TextClassifier
from unroll.text.tokenizers import get_tokenizer
from unroll.text.vocabulary import UNKNOWN_ID, Vocabulary

CHUNK = 4096  # texts held at a time
TOKEN_BUDGET = 2**15  # tokens in a batch, padding counted


@dataclass(frozen=True)
class Prediction:
    """What a classifier says of one text."""

    label: str
    probability: float  # of `label`
    probabilities: dict[str, float]  # of every label
    tokens: int  # words read
    unknown: int  # of them, words that the model does not know; where that is all, the label rests on nothing


class LoadedClassifier:
    """A classifier with all that its use needs: `predict` for texts, `evaluate` for labelled ones."""

    def __init__(
        self,
        model: TextClassifier,
        vocabulary: Vocabulary,
        labels: tuple[str, ...],
        config: ClassificationConfig,
        data: dict[str, Any],
    ) -> None:
        self.model, self.vocabulary, self.labels, self.config = model, vocabulary, labels, config
        self.data = data  # what the checkpoint says of the training data: source, fingerprint, …
        self._tokenize = get_tokenizer(config.data.tokenizer)

    def predict(self, texts: Sequence[str]) -> list[Prediction]:
        """Return a prediction for each text, in their order. A text alone or among others gets the same.

        Raises:
            TypeError: `texts` is a single string, or holds something that is none.
        """
        if isinstance(texts, str):
            raise TypeError("predict takes a list of texts; put the one in a list: predict([text])")
        return list(self.predict_stream(texts))

    def predict_stream(self, texts: Iterable[str]) -> Iterator[Prediction]:
        """Yield a prediction for each text, in their order, holding at most `CHUNK` of them at a time.

        The first chunks are small, so that the first answers come at once.
        """
        texts, size = iter(texts), 1
        while chunk := list(islice(texts, size)):
            documents = self._documents(chunk)
            unknown = np.add.reduceat(documents.ids == UNKNOWN_ID, documents.starts, dtype=np.int64).tolist()
            rows = self.logits(documents).softmax(-1).tolist()
            for probabilities, length, strange in zip(rows, documents.lengths.tolist(), unknown, strict=True):
                best = max(range(len(self.labels)), key=probabilities.__getitem__)
                yield Prediction(
                    label=self.labels[best],
                    probability=probabilities[best],
                    probabilities=dict(zip(self.labels, probabilities, strict=True)),
                    tokens=length,
                    unknown=strange,
                )
            size = min(2 * size, CHUNK)

    def evaluate(self, texts: Iterable[str], labels: Iterable[int]) -> dict[str, float]:
        """Return the figures of labelled texts, as `evaluate_documents` does; labels are indices of `self.labels`."""
        pairs = zip(texts, labels, strict=True)
        logits, targets = [], []
        while chunk := list(islice(pairs, CHUNK)):
            logits.append(self.logits(self._documents([text for text, _ in chunk])))
            targets += [label for _, label in chunk]
        return self._figures(torch.cat(logits), torch.tensor(targets))

    def evaluate_documents(self, documents: Documents) -> dict[str, float]:
        """Return `accuracy`, `f1`, `auroc` (see `unroll.tasks.metrics`), `loss` (nats) and `examples`."""
        return self._figures(self.logits(documents), torch.from_numpy(documents.labels))

    def _figures(self, logits: Tensor, targets: Tensor) -> dict[str, float]:
        from unroll.tasks.metrics import classification_metrics

        figures = classification_metrics(len(self.labels))(logits, targets)
        loss = F.cross_entropy(logits, targets)
        return {name: float(value) for name, value in figures.items()} | {"loss": float(loss), "examples": len(targets)}

    @torch.inference_mode()
    def logits(self, documents: Documents) -> Tensor:
        """Return the logits (documents, classes), in the documents' order, computed in batches of like length where the
        model's weights are."""
        device = self.model.embedding.weight.device
        logits = torch.empty(len(documents), len(self.labels))
        for rows in BucketSampler(documents.lengths, token_budget=TOKEN_BUDGET):
            batch = documents[rows]
            logits[rows] = self.model(batch.ids.to(device), batch.lengths).cpu()
        return logits

    def kept(self, length: int) -> slice:
        """Return the part of a text of so many tokens that is read, as in training: `max_tokens` of it."""
        data = self.config.data
        most = length if data.max_tokens is None else min(length, data.max_tokens)
        return slice(length - most, length) if data.keep == "end" else slice(0, most)

    def _documents(self, texts: Sequence[str]) -> Documents:
        """The texts as the model was trained on texts: shortened to `max_tokens`, an empty one as one `<unk>`."""
        ids = [self.vocabulary.encode(self._tokenize(text)) or [UNKNOWN_ID] for text in texts]
        ids = [row[self.kept(len(row))] for row in ids]
        lengths = np.array([len(row) for row in ids], dtype=np.int64)
        flat = np.fromiter(chain.from_iterable(ids), dtype=np.int32, count=int(lengths.sum()))
        return Documents(flat, np.cumsum(lengths) - lengths, lengths, np.zeros(len(ids), dtype=np.int64))
