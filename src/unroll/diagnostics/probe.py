"""A model and a text, made ready for looking back from one step: stretches of the text, and the loss at their ends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from unroll.config import ClassificationConfig, LanguageModelingConfig
from unroll.encoders import RecurrentEncoder
from unroll.errors import DataError
from unroll.inference.classify import LoadedClassifier
from unroll.inference.generate import LoadedLanguageModel
from unroll.models.classifier import TextClassifier, build_classifier
from unroll.models.language_model import LanguageModel, build_language_model
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


def probe_text(model: Model, text: str, lags: int) -> Probe:
    """Cut a text into stretches of `lags` steps, and probe the model with them.

    Raises:
        DataError: the text is shorter than that.
    """
    if isinstance(model, LoadedLanguageModel):
        ids, steps, unit = characters.encode(text, model.vocabulary), lags + 1, "characters"
    else:
        tokens = get_tokenizer(model.config.data.tokenizer)(text)
        ids, steps, unit = np.array(model.vocabulary.encode(tokens), dtype=np.int32), lags, "tokens"
    if len(ids) < steps:
        raise DataError(f"the text has {len(ids)} {unit}, and {steps} are needed; give a longer one, or fewer --lags")
    return probe(model.model, stretches(ids, steps))


def stretches(ids: npt.NDArray[np.int32], length: int) -> Tensor:
    """Return (rows, length) ids from at most `STRETCHES` places of a text, from its beginning to its end."""
    starts = np.unique(np.linspace(0, len(ids) - length, STRETCHES).astype(np.int64))
    return torch.from_numpy(ids[starts[:, None] + np.arange(length)].astype(np.int64))


def probe(model: TextClassifier | LanguageModel, ids: Tensor) -> Probe:
    """Probe with rows of ids, (rows, steps). A language model's loss is that of each row's last character after the
    others, a classifier's that of the class that it leans to after the row, as if it judged by the last step alone."""
    if isinstance(model, LanguageModel):
        ids, last = ids[:, :-1], ids[:, -1]
        weight, bias = model.output_weight, model.bias
        if model.embedding is None:
            x = F.one_hot(ids, model.vocabulary_size).to(bias.dtype)
        else:
            x = model.embedding.weight[ids]
        return Probe(
            model.encoder, x.detach(), lambda h: F.cross_entropy(F.linear(h, weight, bias), last, reduction="none")
        )

    def loss(h: Tensor) -> Tensor:
        logits = model.head(torch.cat([h] * len(model.pooling), dim=1))
        return F.cross_entropy(logits, logits.argmax(1), reduction="none")

    return Probe(model.encoder, model.embedding.weight[ids].detach(), loss)
