"""A trained classifier in use: predictions for texts, figures for labelled ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from unroll.config import ClassificationConfig
from unroll.inference.arguments import texts_of
from unroll.inference.arrays import Weights, classifier_shapes
from unroll.inference.content import codec_of, weights_of, words
from unroll.inference.description import describe, listed
from unroll.inference.engines import Logits, engine_of, softmax
from unroll.inference.forks import compute_alone_after_fork
from unroll.progress import begin
from unroll.shown import shown
from unroll.text.codec import Codec, Ids, count
from unroll.text.vocabulary import UNKNOWN_ID

if TYPE_CHECKING:  # they bring torch, which an exported model does without
    from torch import Tensor

    from unroll.batching.documents import Documents
    from unroll.models.classifier import TextClassifier
    from unroll.progress import Task
    from unroll.tasks.classification_data import ClassificationData

CHUNK, CHUNK_CHARACTERS = 4096, 2**23  # texts held at a time, and their characters
CHARACTERS = 4  # of a word with the space after it, or a few more: texts are put into groups before they are cut
FIRST = 256  # texts of a list that are taken together first


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

    Threads may share one. In a forked process it computes on one thread. To predict it needs torch only where its
    engine is torch, see `unroll.inference.engines`; onnxruntime has a copy of the weights, so do not change them.
    """

    unit: ClassVar[str] = "tokens"
    look_ahead: ClassVar[int] = 0  # ids that `TextClassifier.look_back` needs beyond the steps it looks back over

    def __init__(
        self,
        model: TextClassifier | Weights[TextClassifier],
        codec: Codec,
        labels: tuple[str, ...],
        config: ClassificationConfig,
        data: dict[str, Any],
        engine: str = "torch",
        int8: bool = False,
    ) -> None:
        self._weights, self.codec, self.labels, self.config = Weights.of(model), codec, labels, config
        self.engine = engine_of(engine, self._weights, config, int8)
        self.vocabulary = codec.vocabulary
        self.data = data  # what the checkpoint says of the training data: source, fingerprint, …

    @classmethod
    def from_checkpoint(
        cls, config: ClassificationConfig, content: dict[str, Any], engine: str = "torch"
    ) -> LoadedClassifier:
        """Return the model of a checkpoint's or an exported folder's content. Raises ValueError where its parts do not
        fit together, ConfigError where the engine can't be had."""
        codec, labels = codec_of(content, config.data.tokenizer), tuple(words(content, "labels"))
        if len(labels) < 2:
            raise ValueError("its entry 'labels' holds fewer than two classes")
        sizes = len(codec.vocabulary), len(labels)

        def make() -> TextClassifier:
            from unroll.models.classifier import build_classifier

            return build_classifier(config, *sizes)

        weights = weights_of(content, classifier_shapes(config, *sizes), make)
        return cls(weights, codec, labels, config, content["data"], engine, content.get("int8") is True)

    @property
    def model(self) -> TextClassifier:
        """The torch module."""
        return self._weights.module

    def __repr__(self) -> str:
        data = self.config.data
        length = "texts of any length" if data.max_length is None else f"up to {data.max_length:,} tokens of a text"
        lines = {
            "vocabulary": f"{len(self.vocabulary):,} {self.codec.rule.unit}; it reads {length}",
            "labels": listed(self.labels),
            "use": 'model.predict(["a text", "another"]) returns labels and probabilities',
        }
        return describe("classifier", self._weights.parameters, self.config.encoder, self.data, lines)

    @classmethod
    def untrained(cls, config: ClassificationConfig, text: str) -> LoadedClassifier:
        """Return a fresh model of two classes by its settings, seed included; its vocabulary is that of the text."""
        import torch

        from unroll.models.classifier import build_classifier

        torch.manual_seed(config.seed)
        codec = Codec.learn(config.data.tokenizer, count(config.data.tokenizer, text))
        model = build_classifier(config, len(codec.vocabulary), 2).eval()
        return cls(model, codec, ("negative", "positive"), config, {})

    def encode(self, text: str) -> npt.NDArray[np.int32]:
        """Return the ids (tokens,) of the whole text, of whatever length."""
        return self.codec.encode(text)

    def predict(self, texts: Iterable[str]) -> list[Prediction]:
        """Return a prediction for each text, in their order. A text gets the same alone and among others,
        up to rounding.

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

    def _predict(self, texts: Sequence[str]) -> list[Prediction]:
        compute_alone_after_fork()
        found: dict[int, Prediction] = {}

        def work(places: list[int]) -> list[Prediction]:
            return self._label([texts[place] for place in places])

        for places, predictions in self.engine.share(work, [self._size(text) for text in texts]):
            found.update(zip(places, predictions, strict=True))
        return [found[place] for place in range(len(texts))]

    def _size(self, text: str) -> int:
        """Guess how many tokens are read of a text."""
        is_cut_into_words = self.codec.rule.unit in ("words", "tokens")
        size = len(text) // CHARACTERS + 1 if is_cut_into_words else len(text)
        return min(size, self.config.data.max_length or size)

    def _label(self, texts: Sequence[str]) -> list[Prediction]:
        """Return a prediction for each text, computed together."""
        rows = [self.read_ids(text) for text in texts]
        return [
            Prediction(
                label=self.labels[max(range(len(self.labels)), key=probabilities.__getitem__)],
                probability=max(probabilities),
                probabilities=dict(zip(self.labels, probabilities, strict=True)),
                tokens=len(ids),
                unknown=int(np.count_nonzero(ids == UNKNOWN_ID)),
            )
            for ids, probabilities in zip(rows, softmax(self.engine.logits(rows)).tolist(), strict=True)
        ]

    def read(self, path: Path, split: str) -> Documents:
        """Return the labelled documents of a table, or of a folder's table of that split; see
        `unroll.inference.labelled.read`."""
        from unroll.inference import labelled

        return labelled.read(self, path, split)

    def score(self, documents: Documents) -> dict[str, float]:
        """Return the model's figures on documents, see `unroll.inference.labelled.score`."""
        from unroll.inference import labelled

        return labelled.score(self, documents)

    def score_mixed(self, documents: Documents, data: ClassificationData) -> dict[str, float]:
        """Return those figures, and those of a mixture with counted n-grams, see
        `unroll.inference.labelled.score_mixed`."""
        from unroll.inference import labelled

        return labelled.score_mixed(self, documents, data)

    def logits(self, documents: Documents, task: Task | None = None) -> Tensor:
        """Return the logits (documents, classes), in the documents' order; `task` is told how many are done."""
        import torch

        compute_alone_after_fork()
        rows = [documents.document(row) for row in range(len(documents))]

        def work(places: list[int]) -> Logits:
            return self.engine.logits([rows[place] for place in places])

        order, found = list[int](), list[Logits]()
        for places, logits in self.engine.share(work, [len(row) for row in rows]):
            order += places
            found.append(logits)
            if task is not None:
                task.update(len(order))
        return torch.from_numpy(np.concatenate(found)[np.argsort(order)])

    def kept(self, length: int) -> slice:
        """Return the part of a text of so many tokens that is read, as in training: `max_length` of it."""
        data = self.config.data
        most = length if data.max_length is None else min(length, data.max_length)
        return slice(length - most, length) if data.truncate == "start" else slice(0, most)

    def read_ids(self, text: str) -> Ids:
        """Return a text's ids (tokens,) as in training: truncated to `max_length`, an empty one as one `<unk>`."""
        ids = self.codec.encode(text)
        return ids[self.kept(len(ids))] if len(ids) else np.array([UNKNOWN_ID], dtype=np.int32)


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
