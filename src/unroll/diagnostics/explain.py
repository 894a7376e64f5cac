"""How each token of a text changed a classifier's prediction, and how each token surprised a language model."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

from unroll.encoders import pool
from unroll.encoders.pooling import pool_prefixes
from unroll.errors import DataError, UserError
from unroll.inference.classify import LoadedClassifier, Prediction
from unroll.inference.generate import LoadedLanguageModel
from unroll.models.classifier import TextClassifier
from unroll.text.codec import TokenSize
from unroll.text.vocabulary import UNKNOWN_ID

MOST_TEXTS, MOST_TOKENS = 100, 20_000  # on one page: a browser has to show them
EXPECTED = 3  # the likeliest tokens that are named at each place


@dataclass(frozen=True)
class Judgement:
    """How each token of a text changed a classifier's prediction."""

    section: ClassVar[str] = "judgement"  # the part of page.html for it
    title: ClassVar[str] = "What moved the prediction"
    unit: ClassVar[str] = "tokens"

    text: str
    prediction: Prediction
    tokens: tuple[str, ...]  # all tokens of the text
    known: tuple[bool, ...]  # whether the model knows each token; it reads the others as `<unk>`
    read: slice  # the tokens that were read; see `data.max_length`
    attribution: tuple[float, ...]  # gradient x input of each token read, in nats of the label's log-odds
    empty: float  # the label's probability before anything is read
    prefixes: tuple[float, ...] | None  # the same after each token read; None if the encoder has two directions

    @property
    def size(self) -> int:
        return len(self.tokens)

    @property
    def answer(self) -> str:
        return self.prediction.answer

    @property
    def note(self) -> str:
        return self.prediction.note

    def figures(self) -> dict[str, Any]:
        return vars(self.prediction)


@dataclass(frozen=True)
class Surprise:
    """How each token of a text surprised a language model."""

    section: ClassVar[str] = "surprise"
    title: ClassVar[str] = "What surprised the model"
    note: ClassVar[str] = ""

    text: str
    unit: str  # what a token is called
    tokens: tuple[str, ...]  # as people read them
    token_size: TokenSize
    known: tuple[bool, ...]  # whether the model knows each token; it reads the others as `<unk>`
    bits: tuple[float, ...]  # -log2 of each token's probability, without the first token
    expected: tuple[tuple[tuple[str, float], ...], ...]  # the likeliest tokens in its place, with probabilities

    @property
    def bits_per_character(self) -> float:
        return (sum(self.bits) / len(self.bits) + self.token_size.spelling) / self.token_size.characters

    @property
    def size(self) -> int:
        return len(self.tokens)

    @property
    def answer(self) -> str:
        return f"{self.bits_per_character:.3f} bits per character"

    def figures(self) -> dict[str, Any]:
        return {
            "bits_per_character": self.bits_per_character,
            "characters": round(len(self.bits) * self.token_size.characters),
        }


Explanation = TypeVar("Explanation", Judgement, Surprise)
Model = TypeVar("Model")


def explain(judge: Callable[[Model, str], Explanation], model: Model, texts: Iterable[str]) -> list[Explanation]:
    """Explain each text, as long as one page can show them all.

    Args:
        judge: `judge_text` for a classifier, `surprise` for a language model.
        model: a model from `unroll.load`.
        texts: one or more.

    Raises:
        DataError: there is no text, or there are more than `MOST_TEXTS`, or more than `MOST_TOKENS` tokens or
            characters together; or `judge` raises it.
    """
    found: list[Explanation] = []
    size = 0
    for text in texts:
        if len(found) == MOST_TEXTS:
            raise DataError(f"there are more than {MOST_TEXTS} texts to explain on one page; give fewer")
        one = judge(model, text)
        size += one.size
        if size > MOST_TOKENS:
            raise DataError(f"the texts to explain have more than {MOST_TOKENS:,} {one.unit} together; give fewer")
        found.append(one)
    if not found:
        raise DataError("there is no text to explain; give at least one")
    return found


def judge_text(model: LoadedClassifier, text: str) -> Judgement:
    """Classify a text, and explain how each token changed the prediction.

    Gradient x input (Shrikumar et al. 2016, arXiv:1605.01713) is the first-order share of a token's embedding in the
    log-odds of the label, for any encoder. With an encoder of one direction there is also the prediction after each
    token, which is the prediction for the text up to there.

    Raises:
        UserError: the model's logits are not finite.
    """
    (prediction,), (empty,) = model.predict([text]), model.predict([""])  # each alone, as `predict` rounds it
    label = model.labels.index(prediction.label)
    tokens = model.codec.tokens(text)
    read = model.kept(len(tokens))
    ids = torch.tensor([model.vocabulary.encode(tokens[read]) or [UNKNOWN_ID]])
    ids = ids.to(model.model.embedding.weight.device)
    attribution = gradient_times_input(model.model, ids, label)
    if not attribution.isfinite().all():
        raise UserError("the model's gradient is not finite: its training diverged; use another checkpoint")
    count, one_way = len(tokens[read]), model.model.encoder.num_directions == 1  # a text without tokens: one `<unk>`
    return Judgement(
        text=text,
        prediction=prediction,
        tokens=tuple(map(model.codec.label, tokens)),
        known=tuple(id_ != UNKNOWN_ID for id_ in model.vocabulary.encode(tokens)),
        read=read,
        attribution=tuple(attribution.tolist()[:count]),
        empty=empty.probabilities[prediction.label],
        prefixes=tuple(_after_each_token(model.model, ids)[:count, label].tolist()) if one_way else None,
    )


def gradient_times_input(model: TextClassifier, ids: Tensor, label: int) -> Tensor:
    """Return each token's gradient x input (time,) for one document `ids` (1, time), in the log-odds of a class."""
    lengths = torch.tensor([ids.size(1)])
    x = model.embedding.weight[ids].detach().requires_grad_()
    output, _ = model.encoder(x, lengths)  # without windows: they cut the gradient, which is for training only
    (logits,) = model.head(pool(output, lengths, model.pooling, model.encoder.num_directions))
    others = torch.cat([logits[:label], logits[label + 1 :]])
    (gradient,) = torch.autograd.grad(logits[label] - others.logsumexp(0), x)
    return (gradient * x).sum(2)[0].detach()


@torch.inference_mode()
def _after_each_token(model: TextClassifier, ids: Tensor) -> Tensor:
    """Return the probabilities (time, classes) after each token of one document (1, time)."""
    output, _ = model.encoder(model.embedding.weight[ids])
    probabilities: Tensor = model.head(pool_prefixes(output, model.pooling)[0]).softmax(-1)
    return probabilities


@torch.inference_mode()
def surprise(model: LoadedLanguageModel, text: str) -> Surprise:
    """Ask a language model how likely each token of a text was after the tokens before it.

    Raises:
        DataError: the text has fewer than two tokens: there is nothing to predict. Or it has more than `MOST_TOKENS`.
        UserError: the model's logits are not finite.
    """
    tokenized, codec = model.codec.tokenize(text), model.codec
    if len(tokenized) < 2:
        raise DataError(f"the text has {len(tokenized)} {model.unit}, but the first is not predicted; give two or more")
    if len(tokenized) > MOST_TOKENS:
        raise DataError(f"the text to explain has more than {MOST_TOKENS:,} {model.unit}; give a shorter one")
    ids = torch.from_numpy(tokenized.ids).long()[None].to(next(model.model.parameters()).device)
    logits, _ = model.model(ids[:, :-1])
    logarithms = F.log_softmax(logits[0].double(), dim=-1)
    if not logarithms.isfinite().all():
        raise UserError("the model's logits are not finite: its training diverged; use another checkpoint")
    bits = -logarithms.gather(1, ids[0, 1:, None])[:, 0] / math.log(2)
    likeliest = logarithms.exp().topk(min(EXPECTED, logits.size(-1)))
    names = [*map(codec.label, codec.vocabulary.tokens)]
    return Surprise(
        text=text,
        unit=model.unit,
        tokens=tuple(map(codec.label, codec.tokens(text))),
        token_size=tokenized.size,
        known=tuple((ids[0] != UNKNOWN_ID).tolist()),
        bits=tuple(bits.tolist()),
        expected=tuple(
            tuple((names[id_], value) for id_, value in zip(row, values, strict=True))
            for row, values in zip(likeliest.indices.tolist(), likeliest.values.tolist(), strict=True)
        ),
    )
