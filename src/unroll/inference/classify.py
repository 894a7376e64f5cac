"""A trained classifier in use: predictions for texts, figures for labelled ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from unroll.batching.documents import BucketSampler, Documents
from unroll.config import ClassificationConfig, ClassificationDataConfig
from unroll.corpora.files import TextFile, read_rows
from unroll.corpora.labelled import find_corpus
from unroll.corpora.labels import label_ids
from unroll.errors import DataError
from unroll.inference.weights import entry, with_weights
from unroll.models.classifier import TextClassifier, build_classifier
from unroll.tasks.metrics import classification_metrics, per_class
from unroll.text.tokenizers import get_tokenizer
from unroll.text.vocabulary import UNKNOWN_ID, Vocabulary

CHUNK = 4096  # texts held at a time
MAX_TOKENS = 2**15  # tokens in a batch, padding counted


@dataclass(frozen=True)
class Prediction:
    """What a classifier says of one text."""

    label: str
    probability: float  # of `label`
    probabilities: dict[str, float]  # of every label
    tokens: int  # words read
    unknown: int  # of them, words that the model does not know; where that is all, the label rests on nothing

    @property
    def answer(self) -> str:
        """The label and its probability, as wide for every label."""
        return f"{self.label:<{max(map(len, self.probabilities))}}  {self.probability:.3f}"

    @property
    def note(self) -> str:
        """A warning to stand behind the text, or nothing."""
        return "  (no word that the model knows)" if self.unknown == self.tokens else ""


class LoadedClassifier:
    """A classifier with all that its use needs: `predict` for texts, `score` for labelled ones."""

    unit: ClassVar[str] = "tokens"
    look_ahead: ClassVar[int] = 0  # ids that `TextClassifier.look_back` needs beyond the steps it looks back over

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

    @classmethod
    def from_checkpoint(cls, config: ClassificationConfig, content: dict[str, Any]) -> LoadedClassifier:
        """Return the model of a checkpoint's content. Raises ValueError where its parts do not fit together."""
        vocabulary = Vocabulary(entry(content, "vocabulary", list, str))
        labels = tuple(entry(content, "labels", list, str))
        model = with_weights(lambda: build_classifier(config, len(vocabulary), len(labels)), content["state_dict"])
        return cls(model, vocabulary, labels, config, content["data"])

    @classmethod
    def untrained(cls, config: ClassificationConfig, text: str) -> LoadedClassifier:
        """Return a fresh model of two classes by its settings, seed included; its vocabulary is that of the text."""
        torch.manual_seed(config.seed)
        vocabulary = Vocabulary.build(Counter(get_tokenizer(config.data.tokenizer)(text)))
        model = build_classifier(config, len(vocabulary), 2).eval()
        return cls(model, vocabulary, ("negative", "positive"), config, {})

    def encode(self, text: str) -> npt.NDArray[np.int32]:
        """Return the ids (tokens,) of the whole text, of whatever length."""
        return np.array(self.vocabulary.encode(self._tokenize(text)), dtype=np.int32)

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

    def read(self, path: Path, split: str) -> Documents:
        """Return the labelled documents of a table, or of a folder's table of that split.

        Raises:
            DataError: they can't be had, or a label is none of the model's.
        """
        file = _table(path, split, self.config.data)
        rows = list(read_rows(file))
        labels = label_ids([row.label for row in rows], self.labels, file)
        return self._documents([row.text for row in rows], labels)

    def score(self, documents: Documents) -> dict[str, float]:
        """Return `accuracy`, `f1`, `auroc`, `loss` (nats), `examples`, and for each class its `precision/NAME`,
        `recall/NAME` and `f1/NAME`; see `unroll.tasks.metrics`."""
        logits, targets = self.logits(documents), torch.from_numpy(documents.labels)
        figures = classification_metrics(len(self.labels))(logits, targets)
        figures |= {"loss": F.cross_entropy(logits, targets), "examples": len(targets)}
        figures |= per_class(self.labels)(logits, targets)
        return {name: value if isinstance(value, int) else float(value) for name, value in figures.items()}

    @torch.inference_mode()
    def logits(self, documents: Documents) -> Tensor:
        """Return the logits (documents, classes), in the documents' order, computed in batches of like length where the
        model's weights are."""
        device = self.model.embedding.weight.device
        logits = torch.empty(len(documents), len(self.labels))
        for rows in BucketSampler(documents.lengths, max_tokens=MAX_TOKENS):
            batch = documents[rows]
            logits[rows] = self.model(batch.ids.to(device), batch.lengths).cpu()
        return logits

    def kept(self, length: int) -> slice:
        """Return the part of a text of so many tokens that is read, as in training: `max_length` of it."""
        data = self.config.data
        most = length if data.max_length is None else min(length, data.max_length)
        return slice(length - most, length) if data.truncate == "start" else slice(0, most)

    def _documents(self, texts: Sequence[str], labels: npt.NDArray[np.int64] | None = None) -> Documents:
        """The texts as the model was trained on texts: truncated to `max_length`, an empty one as one `<unk>`."""
        ids = [self.vocabulary.encode(self._tokenize(text)) or [UNKNOWN_ID] for text in texts]
        ids = [row[self.kept(len(row))] for row in ids]
        lengths = np.array([len(row) for row in ids], dtype=np.int64)
        flat = np.fromiter(chain.from_iterable(ids), dtype=np.int32, count=int(lengths.sum()))
        labels = np.zeros(len(ids), dtype=np.int64) if labels is None else labels
        return Documents(flat, np.cumsum(lengths) - lengths, lengths, labels)


def _table(path: Path, split: str, data: ClassificationDataConfig) -> TextFile:
    """The table at a path, or the test table of a folder, read by the settings that the model was trained with."""
    columns: Any = {"text_column": data.text_column, "label_column": data.label_column, "encoding": data.encoding}
    if not path.is_dir():
        return TextFile((path,), **columns)
    if split != "test":
        raise DataError(f"{path}: a folder gives --split test; name the table of another split itself")
    test = find_corpus("local", path, path, **columns).test
    if test is None:
        raise DataError(f"{path}: no test.* table in this folder; name a table itself")
    return test
