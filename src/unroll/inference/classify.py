"""A trained classifier in use: predictions for texts, figures for labelled ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from unroll import progress
from unroll.batching.documents import BucketSampler, Documents
from unroll.config import ClassificationConfig, ClassificationDataConfig
from unroll.corpora.files import TextFile, read_rows
from unroll.corpora.labelled import find_corpus
from unroll.corpora.labels import label_ids
from unroll.errors import DataError
from unroll.inference.arguments import texts_of
from unroll.inference.description import describe, listed
from unroll.inference.forks import compute_alone_after_fork
from unroll.inference.weights import codec_of, with_weights, words
from unroll.models.classifier import TextClassifier, build_classifier
from unroll.ngrams.mixture import fit_factors
from unroll.ngrams.naive_bayes import NaiveBayesNGrams
from unroll.progress import Task, begin
from unroll.shown import shown
from unroll.tasks.classification_data import ClassificationData
from unroll.tasks.metrics import classification_metrics, per_class
from unroll.text.codec import Codec, count
from unroll.text.vocabulary import UNKNOWN_ID

CHUNK, CHUNK_CHARACTERS = 4096, 2**23  # texts held at a time, and their characters
FIRST = 256  # texts of a list that are taken together first
MAX_TOKENS = 2**15  # tokens in a batch, padding counted


@dataclass(frozen=True)
class Prediction:
    """What a classifier says of one text."""

    label: str
    probability: float  # of `label`
    probabilities: dict[str, float]  # of every label
    tokens: int  # tokens read
    unknown: int  # tokens that the model does not know; if all are, the label says nothing

    @property
    def answer(self) -> str:
        """The label and its probability, safe to show and equally wide for every label."""
        return f"{shown(self.label):<{max(len(shown(label)) for label in self.probabilities)}}  {self.probability:.3f}"

    @property
    def note(self) -> str:
        """A warning to show after the text, or nothing."""
        return "  (no word that the model knows)" if self.unknown == self.tokens else ""


class LoadedClassifier:
    """A trained classifier: `predict` for texts, `score` for labelled ones.

    Threads may share one. In a forked process it computes on one thread.
    """

    unit: ClassVar[str] = "tokens"
    look_ahead: ClassVar[int] = 0  # ids that `TextClassifier.look_back` needs beyond the steps it looks back over

    def __init__(
        self,
        model: TextClassifier,
        codec: Codec,
        labels: tuple[str, ...],
        config: ClassificationConfig,
        data: dict[str, Any],
    ) -> None:
        self.model, self.codec, self.labels, self.config = model, codec, labels, config
        self.vocabulary = codec.vocabulary
        self.data = data  # what the checkpoint says of the training data: source, fingerprint, …

    @classmethod
    def from_checkpoint(cls, config: ClassificationConfig, content: dict[str, Any]) -> LoadedClassifier:
        """Return the model of a checkpoint's content. Raises ValueError where its parts do not fit together."""
        codec, labels = codec_of(content, config.data.tokenizer), tuple(words(content, "labels"))
        if len(labels) < 2:
            raise ValueError("its entry 'labels' holds fewer than two classes")
        model = with_weights(
            lambda: build_classifier(config, len(codec.vocabulary), len(labels)), content["state_dict"]
        )
        return cls(model, codec, labels, config, content["data"])

    def __repr__(self) -> str:
        data = self.config.data
        length = "texts of any length" if data.max_length is None else f"up to {data.max_length:,} tokens of a text"
        lines = {
            "vocabulary": f"{len(self.vocabulary):,} {self.codec.rule.unit}; it reads {length}",
            "labels": listed(self.labels),
            "use": 'model.predict(["a text", "another"]) returns labels and probabilities',
        }
        return describe("classifier", self.model, self.config.encoder, self.data, lines)

    @classmethod
    def untrained(cls, config: ClassificationConfig, text: str) -> LoadedClassifier:
        """Return a fresh model of two classes by its settings, seed included; its vocabulary is that of the text."""
        torch.manual_seed(config.seed)
        codec = Codec.learn(config.data.tokenizer, count(config.data.tokenizer, text))
        model = build_classifier(config, len(codec.vocabulary), 2).eval()
        return cls(model, codec, ("negative", "positive"), config, {})

    def encode(self, text: str) -> npt.NDArray[np.int32]:
        """Return the ids (tokens,) of the whole text, of whatever length."""
        return self.codec.encode(text)

    def predict(self, texts: Iterable[str]) -> list[Prediction]:
        """Return a prediction for each text, in their order. A text gets the same alone and among others.

        Raises:
            TypeError: `texts` is a single text or no collection, or an entry is no str; the message has its index.
        """
        return list(
            self._predictions(texts_of(texts, "texts"), len(texts) if isinstance(texts, Sized) else None, FIRST)
        )

    def predict_stream(self, texts: Iterable[str]) -> Iterator[Prediction]:
        """Return an iterator over the predictions of `predict`. It holds few texts at a time.

        The first chunks are small, so that the first answers come at once.
        """
        return self._predictions(texts_of(texts, "texts"), len(texts) if isinstance(texts, Sized) else None, 1)

    def _predictions(self, texts: Iterator[str], total: int | None, first: int) -> Iterator[Prediction]:
        done = 0
        with begin("predicting", total, "texts") as task:
            for chunk in _chunks(texts, first):
                yield from self._predict(chunk)
                done += len(chunk)
                task.update(done)

    def _predict(self, texts: Sequence[str]) -> Iterator[Prediction]:
        ids = list(self._encoded(texts))
        documents = _documents(ids, np.zeros(len(ids), dtype=np.int64))
        unknown = np.add.reduceat(documents.ids[:] == UNKNOWN_ID, documents.starts, dtype=np.int64).tolist()
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

    def read(self, path: Path, split: str) -> Documents:
        """Return the labelled documents of a table, or of a folder's table of that split.

        Raises:
            DataError: they can't be had, or a label is none of the model's.
        """
        file = _table(path, split, self.config.data)
        labels: list[int | str] = []

        def texts() -> Iterator[str]:
            for row in read_rows(file):
                labels.append(row.label)
                yield row.text

        ids = list(self._encoded(texts()))
        return _documents(ids, label_ids(labels, self.labels, file))

    def score(self, documents: Documents) -> dict[str, float]:
        """Return `accuracy`, `f1`, `auroc`, `loss` (nats), `examples`, and for each class its `precision/NAME`,
        `recall/NAME` and `f1/NAME`; see `unroll.tasks.metrics`."""
        with begin("evaluating", len(documents), "documents") as task:
            logits, targets = self.logits(documents, task), torch.from_numpy(documents.labels)
        figures = self._figures(logits, targets) | {"examples": len(targets)}
        return figures | {name: float(value) for name, value in per_class(self.labels)(logits, targets).items()}

    def score_mixed(self, documents: Documents, data: ClassificationData) -> dict[str, float]:
        """Return the figures of `score`, those of `NaiveBayesNGrams` of the training documents as `ngram_*`, and as
        `mixed_*` those of both together: the sum of the model's logits, times `net_factor`, and the n-grams', times
        `ngram_factor`. The factors are fitted on the validation documents."""
        progress.say("fitting the n-grams of the training documents, and two factors on validation")
        ngrams = NaiveBayesNGrams(data.train, len(self.labels))
        own = self.logits(data.val).double().numpy()
        own_factor, factor = fit_factors(own, ngrams.logits(data.val), data.val.labels)
        logits, by_ngrams = self.logits(documents).double(), torch.from_numpy(ngrams.logits(documents))
        targets, figures = torch.from_numpy(documents.labels), self.score(documents)
        for name, mixture in {"ngram": by_ngrams, "mixed": own_factor * logits + factor * by_ngrams}.items():
            figures |= {f"{name}_{key}": value for key, value in self._figures(mixture, targets).items()}
        return figures | {"net_factor": own_factor, "ngram_factor": factor}

    def _figures(self, logits: Tensor, targets: Tensor) -> dict[str, float]:
        figures = classification_metrics(len(self.labels))(logits, targets)
        figures["loss"] = F.cross_entropy(logits, targets)
        return {name: float(value) for name, value in figures.items()}

    @torch.inference_mode()
    def logits(self, documents: Documents, task: Task | None = None) -> Tensor:
        """Return the logits (documents, classes), in the documents' order.

        Args:
            documents: read in batches of like length, where the model's weights are.
            task: told how many documents are done.
        """
        compute_alone_after_fork()
        weight, done = self.model.embedding.weight, 0
        logits = torch.empty(len(documents), len(self.labels), dtype=weight.dtype)
        for rows in BucketSampler(documents.lengths, max_tokens=MAX_TOKENS):
            batch = documents[rows]
            logits[rows] = self.model(batch.ids.to(weight.device), batch.lengths).cpu()
            done += len(rows)
            if task is not None:
                task.update(done)
        return logits

    def kept(self, length: int) -> slice:
        """Return the part of a text of so many tokens that is read, as in training: `max_length` of it."""
        data = self.config.data
        most = length if data.max_length is None else min(length, data.max_length)
        return slice(length - most, length) if data.truncate == "start" else slice(0, most)

    def _encoded(self, texts: Iterable[str]) -> Iterator[npt.NDArray[np.int32]]:
        """Yield each text's ids as in training: truncated to `max_length`, an empty one as one `<unk>`."""
        for text in texts:
            ids = self.codec.encode(text)
            yield ids[self.kept(len(ids))] if len(ids) else np.array([UNKNOWN_ID], dtype=np.int32)


def _chunks(texts: Iterable[str], first: int) -> Iterator[list[str]]:
    """Yield the texts in lists that grow from `first` to `CHUNK` texts or `CHUNK_CHARACTERS` characters."""
    size, characters, chunk = first, 0, list[str]()
    for text in texts:
        chunk.append(text)
        characters += len(text)
        if len(chunk) == size or characters >= CHUNK_CHARACTERS:
            yield chunk
            size, characters, chunk = min(2 * size, CHUNK), 0, []
    if chunk:
        yield chunk


def _documents(ids: Sequence[npt.NDArray[np.int32]], labels: npt.NDArray[np.int64]) -> Documents:
    lengths = np.array([len(row) for row in ids], dtype=np.int64)
    return Documents(np.concatenate(ids), np.cumsum(lengths) - lengths, lengths, labels)


def _table(path: Path, split: str, data: ClassificationDataConfig) -> TextFile:
    """The table at a path, or the test table of a folder, read by the settings that the model was trained with."""
    names = ("text_column", "label_column", "encoding", "max_characters")
    columns: Any = {name: getattr(data, name) for name in names}
    if not path.is_dir():
        return TextFile((path,), **columns)
    if split != "test":
        raise DataError(f"{path}: a folder gives --split test; name the table of another split itself")
    test = find_corpus("local", path, path, **columns).test
    if test is None:
        raise DataError(f"{path}: no test.* table in this folder; name a table itself")
    return test
