"""A model and a text, made ready for looking back from one step: stretches of the text, and the loss at their ends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from unroll.config import ClassificationConfig, LanguageModelingConfig
from unroll.encoders import RecurrentEncoder
from unroll.errors import DataError
from unroll.inference.classify import LoadedClassifier
from unroll.inference.generate import LoadedLanguageModel
from unroll.models.classifier import build_classifier
from unroll.models.language_model import build_language_model
from unroll.text import characters
from unroll.text.tokenizers import get_tokenizer
from unroll.text.vocabulary import Vocabulary

STRETCHES = 16  # of the text, from its beginning to its end, over which gradients are averaged

Model = LoadedClassifier | LoadedLanguageModel


@dataclass(frozen=True)
class Probe:
    """What `gradient_flow` needs."""

    encoder: RecurrentEncoder
    x: Tensor  # (stretches, lags, features)
    loss: Callable[[Tensor], Tensor]  # of the top layer's output at the last step


def untrained(config: ClassificationConfig | LanguageModelingConfig, text: str) -> Model:
    """Return a fresh model of the given settings, its vocabulary that of the text."""
    torch.manual_seed(config.seed)
    if isinstance(config, ClassificationConfig):
        vocabulary = Vocabulary.build(Counter(get_tokenizer(config.data.tokenizer)(text)))
        classifier = build_classifier(config, len(vocabulary), 2).eval()
        return LoadedClassifier(classifier, vocabulary, ("negative", "positive"), config, {})
    vocabulary = Vocabulary.build(characters.count(text))
    language_model = build_language_model(config, len(vocabulary)).eval()
    return LoadedLanguageModel(language_model, vocabulary, text[:1], config, {})


def probe(model: Model, text: str, lags: int) -> Probe:
    """Cut the text into stretches of `lags` steps. A language model's loss is that of the character after each, a
    classifier's that of the class that it leans to there, as if it judged by that step alone.

    Raises:
        DataError: the text is shorter than that.
    """
    if isinstance(model, LoadedLanguageModel):
        ids = _stretches(characters.encode(text, model.vocabulary), lags + 1, "characters")
        language_model = model.model
        if language_model.embedding is None:
            x = F.one_hot(ids[:, :-1], language_model.vocabulary_size).to(language_model.bias.dtype)
        else:
            x = language_model.embedding(ids[:, :-1])
        weight, bias = language_model.output_weight, language_model.bias
        return Probe(
            language_model.encoder,
            x.detach(),
            lambda h: F.cross_entropy(F.linear(h, weight, bias), ids[:, -1], reduction="none"),
        )
    classifier, tokens = model.model, get_tokenizer(model.config.data.tokenizer)(text)
    ids = _stretches(np.array(model.vocabulary.encode(tokens), dtype=np.int32), lags, "tokens")

    def loss(h: Tensor) -> Tensor:
        logits = classifier.head(torch.cat([h] * len(classifier.pooling), dim=1))
        return F.cross_entropy(logits, logits.argmax(1), reduction="none")

    return Probe(classifier.encoder, classifier.embedding(ids).detach(), loss)


def _stretches(ids: np.ndarray[tuple[int], np.dtype[np.int32]], length: int, unit: str) -> Tensor:
    if len(ids) < length:
        raise DataError(f"the text has {len(ids)} {unit}, and {length} are needed; give a longer one, or fewer --lags")
    starts = np.unique(np.linspace(0, len(ids) - length, STRETCHES).astype(np.int64))
    return torch.from_numpy(ids[starts[:, None] + np.arange(length)].astype(np.int64))
