"""A language model in use: it continues prompts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from unroll.config import LanguageModelingConfig
from unroll.corpora.texts import read_text
from unroll.errors import DataError, UserError
from unroll.inference.arguments import texts_of, whole
from unroll.inference.arrays import Weights, language_model_shapes
from unroll.inference.content import codec_of, weights_of
from unroll.inference.description import describe
from unroll.inference.engines import softmax
from unroll.inference.forks import compute_alone_after_fork
from unroll.inference.sampling import Sampler, SurpriseSampler, Symbols
from unroll.inference.stepper import NumpyStepper, Stepper
from unroll.progress import track
from unroll.text.codec import Codec, Ids, TokenizedText, count
from unroll.text.vocabulary import UNKNOWN_ID

if TYPE_CHECKING:  # they bring torch, which an exported model does without
    from unroll.models.language_model import LanguageModel
    from unroll.tasks.language_modeling_data import LanguageModelingData

MOST_SAMPLES = 100_000  # in one call; each holds its own state


class LoadedLanguageModel:
    """A trained language model: `generate` returns whole texts, `stream` yields them step by step.

    Do not change the model's weights after the first of these calls: it may use a copy of them. Threads may share one
    model. In a forked process it computes on one thread.
    """

    look_ahead: ClassVar[int] = 1  # ids that `LanguageModel.look_back` needs beyond the steps it looks back over

    def __init__(
        self,
        model: LanguageModel | Weights[LanguageModel],
        codec: Codec,
        opening: str,
        config: LanguageModelingConfig,
        data: dict[str, Any],
    ) -> None:
        self._weights, self.codec, self.config = Weights.of(model), codec, config
        self.vocabulary, self.unit = codec.vocabulary, codec.rule.unit
        self.opening = opening  # the training text's first token
        self.data = data  # what the checkpoint says of the training data: source, fingerprint, …
        self._choices = codec.choices

    @classmethod
    def from_checkpoint(cls, config: LanguageModelingConfig, content: dict[str, Any]) -> LoadedLanguageModel:
        """Return the model of a checkpoint's or an exported folder's content. Raises ValueError where its parts do not
        fit together."""
        codec, opening = codec_of(content, config.data.tokenizer), content.get("opening")
        if not isinstance(opening, str) or re.search("[\ud800-\udfff]", opening) or not codec.is_token(opening):
            raise ValueError(f"its entry 'opening' is missing or not one of its {codec.rule.unit}")
        size = len(codec.vocabulary)

        def make() -> LanguageModel:
            from unroll.models.language_model import build_language_model

            return build_language_model(config, size)

        weights = weights_of(content, language_model_shapes(config, size), make)
        return cls(weights, codec, opening, config, content["data"])

    @property
    def model(self) -> LanguageModel:
        """The torch module."""
        return self._weights.module

    def __repr__(self) -> str:
        lines = {
            "vocabulary": f"{len(self._choices):,} {self.unit}",
            "use": 'model.generate("The", length=200) returns the prompt and what follows it',
        }
        return describe("language model", self._weights.parameters, self.config.encoder, self.data, lines)

    @classmethod
    def untrained(cls, config: LanguageModelingConfig, text: str) -> LoadedLanguageModel:
        """Return a fresh model by its settings, seed included; its vocabulary is that of the text."""
        import torch

        from unroll.models.language_model import build_language_model

        torch.manual_seed(config.seed)
        data = config.data
        codec = Codec.learn(data.tokenizer, count(data.tokenizer, text), data.min_freq, data.max_size)
        model = build_language_model(config, len(codec.vocabulary)).eval()
        return cls(model, codec, codec.first(text), config, {})

    def encode(self, text: str) -> Ids:
        """Return the ids (tokens,) of a text; a token that the model does not know is `UNKNOWN_ID`."""
        return self.codec.encode(text)

    def read(self, path: Path, split: str) -> TokenizedText:
        """Return the tokens of a file. Raises DataError where it can't be read, or is too short."""
        content, _ = read_text(path, self.config.data.encoding, self.config.data.max_characters)
        text = self.codec.tokenize(content)
        if len(text) < 2:
            raise DataError(f"{path}: holds fewer than two {self.unit}; a language model predicts from the second on")
        return text

    def score(self, text: TokenizedText) -> dict[str, float]:
        """Return how well the model predicts a text, see `unroll.inference.score.score`."""
        from unroll.inference.score import score

        return score(self.model, text.ids, text.size)

    def score_dynamically(self, text: TokenizedText, checkpoint: Path) -> dict[str, float]:
        """Return the figures of a model that learns from the text as it reads it. The checkpoint is the model's own: it
        holds the gradients' sizes. See `unroll.inference.score.score_dynamically`."""
        from unroll.inference.score import gradient_rms, score_dynamically

        rms = gradient_rms(checkpoint, self.model, self.config.optimizer)
        return score_dynamically(self.model, text.ids, rms, text.size)

    def score_mixed(
        self, text: TokenizedText, data: LanguageModelingData, checkpoint: Path | None = None
    ) -> dict[str, float]:
        """Return the figures of the model, and of its mixture with counted n-grams of its training data. With its
        checkpoint the model learns from the text as it reads it. See `unroll.inference.mixing.score_mixed`."""
        from unroll.inference.mixing import score_mixed
        from unroll.inference.score import dynamic_predictions, gradient_rms, predictions

        net = partial(predictions, self.model)
        if checkpoint is not None:
            rms = gradient_rms(checkpoint, self.model, self.config.optimizer)
            net = partial(dynamic_predictions, self.model, rms=rms)
        size = len(self.vocabulary)
        return score_mixed(net, text, data.train.ids, data.val.ids, size, dynamic=checkpoint is not None)

    @cached_property
    def _stepper(self) -> Stepper:
        if self._weights.come_as_arrays and NumpyStepper.can_step(self.config):
            return NumpyStepper(self.config.encoder.cell, self._weights.arrays)
        from unroll.inference.torch_stepper import make_stepper

        return make_stepper(self.model)

    def generate(
        self,
        prompt: str | Sequence[str] = "",
        length: int = 500,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int = 0,
        samples: int | None = None,
    ) -> str | list[str]:
        """Return the prompt and what follows it, or, with `samples` or a list of prompts, a list of such texts.

        The same arguments give the same texts. The random numbers of the text at index i depend on (`seed`, i) alone:
        `samples=8` begins with the texts of `samples=4`. But another batch size or machine rounds logits a little
        differently, and where two tokens are nearly tied it may choose the other. A model of longer tokens writes one
        after another until a text has `length` characters, and the last is cut there.

        Args:
            prompt: one, or a list of them; after an empty one the text begins as the training text did.
            length: characters after each prompt.
            temperature: 1 takes the model's probabilities, less favours the likely, 0 takes the likeliest.
            top_k: choose among this many of the likeliest tokens.
            top_p: choose among the likeliest tokens that have this probability together.
            seed: of the random numbers.
            samples: texts of the one prompt, at most `MOST_SAMPLES`. Another seed gives more of them.

        Raises:
            DataError: the model does not know a token of a prompt.
            TypeError: a prompt is no str, or another argument is no number.
            UserError: the model's logits are not finite, or its vocabulary holds nothing to write.
            ValueError: a number out of its range, or `samples` with a list of prompts.
        """
        prompts = _as_list(prompt, samples)
        steps = self._stream(prompts, length, Sampler(self._choices, temperature, top_k, top_p), seed)
        total = length if self.codec.name == "characters" else None  # else nobody knows
        texts = ["".join(parts) for parts in zip(prompts, *track(steps, "generating", total, "steps"), strict=True)]
        return texts[0] if isinstance(prompt, str) and samples is None else texts

    def following(self, ids: Sequence[int]) -> npt.NDArray[np.float32]:
        """Return the probability of each token, (vocabulary,), to follow the ids of at least one token."""
        compute_alone_after_fork()
        probabilities: npt.NDArray[np.float32] = softmax(self._stepper.read([ids])[1])[0]
        return probabilities

    def stream(
        self,
        prompt: str | Sequence[str] = "",
        length: int = 500,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int = 0,
        samples: int | None = None,
    ) -> Iterator[list[str]]:
        """Return an iterator over the steps, each a list of what is added to each text: one character, or what another
        token stands for, which may be nothing. Arguments and errors are those of `generate`; only logits that are not
        finite are found later than in this call."""
        return self._stream(_as_list(prompt, samples), length, Sampler(self._choices, temperature, top_k, top_p), seed)

    def stream_with_surprise(
        self,
        prompt: str = "",
        length: int = 500,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int = 0,
    ) -> Iterator[tuple[str, float | None]]:
        """Return an iterator over the steps of one text: what each adds, and its surprise in bits, see
        `SurpriseSampler`; None where the text begins as the training text did. The text, arguments and errors are those
        of `stream`."""
        sampler = SurpriseSampler(self._choices, temperature, top_k, top_p)
        steps = self._stream([prompt], length, sampler, seed)
        opens = not prompt
        return (
            (part, None if number == 0 and opens else float(sampler.bits[0])) for number, (part,) in enumerate(steps)
        )

    def _stream(self, prompts: list[str], length: int, sampler: Sampler, seed: int) -> Iterator[list[str]]:
        length, seed = whole(length, "length", 1), whole(seed, "seed", 0)
        if not len(self._choices):
            raise UserError(
                f"the model's vocabulary holds no single {self.unit.removesuffix('s')}; it can't generate text"
            )
        ids = [self._encode(text) for text in prompts]
        steps = self._steps(ids, sampler, seed) if ids else iter(())
        return self._written(steps, prompts, length)

    def _written(self, steps: Iterator[Symbols], prompts: list[str], length: int) -> Iterator[list[str]]:
        """Yield what each step adds to the texts, until all have `length` characters."""
        # The first token may be too rare for the vocabulary; the text begins with it all the same.
        tokens = [self.opening if id_ == UNKNOWN_ID else token for id_, token in enumerate(self.vocabulary.tokens)]
        writers, left = [self.codec.writer(prompt) for prompt in prompts], [length] * len(prompts)
        while any(left):
            parts = [write(tokens[symbol]) for write, symbol in zip(writers, next(steps).tolist(), strict=True)]
            parts = [part[:rest] for part, rest in zip(parts, left, strict=True)]
            left = [rest - len(part) for part, rest in zip(parts, left, strict=True)]
            yield parts

    def _steps(self, prompts: list[list[int]], sampler: Sampler, seed: int) -> Iterator[Symbols]:
        """Yield the next symbol of each text, (rows,), without end."""
        compute_alone_after_fork()
        noise, (opening,) = sampler.noise(seed, len(prompts)), self.vocabulary.encode([self.opening])
        state, logits = self._stepper.read(prompts)
        symbols = np.where([not prompt for prompt in prompts], opening, sampler.choose(logits, next(noise)))
        yield symbols
        while True:
            state, logits = self._stepper.step(symbols, state)
            symbols = sampler.choose(logits, next(noise))
            yield symbols

    def _encode(self, prompt: str) -> list[int]:
        ids: list[int] = self.codec.encode(prompt).tolist()
        if UNKNOWN_ID in ids:
            place = ids.index(UNKNOWN_ID)
            token = self.codec.tokens(prompt)[place]
            raise DataError(
                f"the prompt's {self.unit.removesuffix('s')} {token!r} (position {place}) is not among the "
                f"{len(self._choices)} that the model knows; leave it out"
            )
        return ids


def _as_list(prompt: str | Sequence[str], samples: int | None) -> list[str]:
    """Return each text's prompt."""
    if isinstance(prompt, str):
        return [prompt] * (1 if samples is None else whole(samples, "samples", 1, MOST_SAMPLES))
    if samples is not None:
        raise ValueError("samples are of one prompt; leave samples out, or repeat each prompt in the list")
    return list(texts_of(prompt, "prompt"))
