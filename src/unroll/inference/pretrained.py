"""A pretrained model in use: its figures on texts, and the words that it finds alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch.nn import functional as F

from unroll.batching.documents import Documents
from unroll.config import PretrainingConfig
from unroll.corpora.files import UNLABELLED, TextFile
from unroll.errors import DataError
from unroll.inference.arguments import whole
from unroll.inference.arrays import Weights
from unroll.inference.content import codec_of
from unroll.inference.description import describe
from unroll.inference.weights import with_weights
from unroll.models.pretraining import DocumentLanguageModel, build_document_language_model
from unroll.tasks.classification_data import evaluation_loader
from unroll.tasks.documents import cache_of, encode, load_tokens, select
from unroll.tasks.pretraining import WordMetrics
from unroll.text.codec import Codec
from unroll.text.tokenized import segmented
from unroll.text.vocabulary import PAD_ID, UNKNOWN_ID


class LoadedDocumentLanguageModel:
    """What pretraining leaves. A classifier starts from it by `init_from=CKPT`."""

    unit: ClassVar[str] = "tokens"

    def __init__(
        self, model: DocumentLanguageModel, codec: Codec, config: PretrainingConfig, data: dict[str, Any]
    ) -> None:
        self.model, self.codec, self.config, self.data = model, codec, config, data
        self.vocabulary = codec.vocabulary

    @classmethod
    def from_checkpoint(cls, config: PretrainingConfig, content: dict[str, Any]) -> LoadedDocumentLanguageModel:
        """Return the model of a checkpoint's content. Raises ValueError where its parts do not fit together."""
        codec = codec_of(content, config.data.tokenizer)
        size = len(codec.vocabulary)
        model = with_weights(lambda: build_document_language_model(config, size), content["state_dict"])
        return cls(model, codec, config, content["data"])

    def __repr__(self) -> str:
        lines = {
            "vocabulary": f"{len(self.vocabulary):,} {self.codec.rule.unit}",
            "use": 'init_from=CKPT of a classifier; model.nearest("superb") returns words like it',
        }
        return describe(
            "document language model", Weights(self.model).parameters, self.config.encoder, self.data, lines
        )

    @torch.inference_mode()
    def nearest(self, word: str, count: int = 10) -> list[tuple[str, float]]:
        """Return the `count` words whose embeddings have the largest cosine with that of `word`, and the cosines.

        Raises:
            DataError: the vocabulary does not hold the word.
            TypeError, ValueError: `count` is no whole number, or below 1.
        """
        (row,) = self.vocabulary.encode([word])
        if row == UNKNOWN_ID:
            raise DataError(f"{word!r:.80} is not among the {len(self.vocabulary):,} words that the model knows")
        rows = F.normalize(self.model.embedding.weight, dim=1)
        cosines = rows @ rows[row]
        cosines[[PAD_ID, UNKNOWN_ID, row]] = -torch.inf
        best = cosines.topk(min(whole(count, "count", 1), len(cosines) - 3))
        return [
            (self.vocabulary.tokens[place], cosine)
            for place, cosine in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ]

    def read(self, path: Path, split: str) -> Documents:
        """Return the texts of a table; its labels, where it has any, are not read. Raises DataError where it can't be
        read."""
        config = self.config.data
        file = TextFile((path,), config.text_column, encoding=config.encoding, has_labels=False)
        corpus = segmented(load_tokens(file, config), self.codec, cache_of(config))
        ids, rows = encode(corpus, self.vocabulary), np.arange(len(corpus))
        return select(corpus, ids, rows, np.full(len(corpus), UNLABELLED), config)

    @torch.inference_mode()
    def score(self, documents: Documents) -> dict[str, float]:
        """Return `loss` (nats per word, a mean over both directions) and `perplexity`."""
        metric = WordMetrics()
        for batch in evaluation_loader(documents):
            metric.update(self.model.losses(*self.model(batch.ids, batch.lengths)))
        return metric.compute()
