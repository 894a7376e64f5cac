"""A language model writes: from the same seed the same text, in whatever company and by whatever arithmetic."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from unroll.config import LanguageModelingConfig
from unroll.errors import DataError, UserError
from unroll.inference.stepper import Array, LaggingText, Steppers
from unroll.models.language_model import LanguageModel
from unroll.text.vocabulary import UNKNOWN_ID, Vocabulary

Symbols = NDArray[np.intp]

# What is nearer than this, in units of logits, float64 decides. Twice the error of a float32 logit would do. In 116,000
# characters an LSTM of 512 units erred by 6e-6 at most, a ReLU net with logits of up to 56 by 2e-5.
EPSILON = 1e-4

NOISE = 2**16  # random numbers drawn at a time, about


class Sampling:
    """How a symbol is chosen by its logit.

    By the Gumbel-max trick: where noise is drawn from Gumbel's distribution, `logits + temperature * noise` is greatest
    for symbol i with the probability softmax(logits / temperature)[i]. So a choice is a comparison, and one can see
    whether it is close.
    """

    def __init__(self, symbols: Symbols, temperature: float, top_k: int | None, top_p: float | None) -> None:
        """Set the rules.

        Args:
            symbols: ids that may be chosen, rising.
            temperature: divides the logits; 0 takes the likeliest symbol.
            top_k: keep so many of the likeliest symbols; where logits are equal, the lower ids.
            top_p: of these keep the likeliest until their probability together reaches this (nucleus sampling: Holtzman
                et al. 2020, arXiv:1904.09751).

        Raises:
            ValueError: a number out of its range.
        """
        if not (math.isfinite(temperature) and temperature >= 0):
            raise ValueError(f"temperature must be a finite number, at least 0, not {temperature}")
        if top_k is not None and top_k < 1:
            raise ValueError(f"top_k must be at least 1, not {top_k}; None keeps all")
        if top_p is not None and not 0 < top_p <= 1:
            raise ValueError(f"top_p must be above 0 and at most 1, not {top_p}; None keeps all")
        self._ids, self._symbols, self.size = symbols, symbols.tolist(), len(symbols)
        self._columns: slice | Symbols = symbols  # a slice, where it can be, makes no copy
        if self.size and symbols[-1] - symbols[0] == self.size - 1:
            self._columns = slice(symbols[0], symbols[-1] + 1)
        self.temperature = min(temperature, 1e9)  # beyond, the logits vanish in the noise's last digits
        # The likeliest symbol is always kept; all are by a count of all, or by 1.0.
        self.top_k = top_k if top_k is not None and top_k < self.size and temperature else None
        self.top_p = top_p if top_p is not None and top_p < 1 and temperature else None
        # Half of EPSILON in every logit changes the odds between two sums of probabilities by at most this factor.
        odds = math.exp(min(EPSILON / self.temperature, 700)) if self.top_p else 1.0
        p = self.top_p or 1.0
        self._enough, self._too_much = p / (p + (1 - p) * odds), p / (p + (1 - p) / odds)

    def noise(self, sources: list[np.random.Generator], steps: int) -> NDArray[np.float64]:
        """Draw the noise of so many steps, (rows, steps, symbols), times the temperature. A row's numbers depend on its
        source and on their position alone."""
        noise = np.zeros((len(sources), steps, self.size))
        if self.temperature:
            for row, source in zip(noise, sources, strict=True):
                source.random(out=row)
            np.maximum(noise, 2**-54, out=noise)  # of 0 there is no logarithm
            for _ in range(2):
                np.negative(np.log(noise, out=noise), out=noise)
            noise *= self.temperature
        return noise

    def guess(self, logits: Array, noise: NDArray[np.float64]) -> list[int]:
        """Choose by logits (rows, vocabulary), each within half of `EPSILON` of the exact, and noise (rows, symbols).

        Returns:
            For each row what `decide` chooses by the exact logits, or -1 where it is too close to tell.
        """
        logits = logits[:, self._columns]
        if self.top_k is None and self.top_p is None:
            scores = logits + noise
            return [self._guess_one(scores[0])] if len(scores) == 1 else self._guess_all(scores)
        weights = (logits, [0.0] * len(logits)) if self.top_p is None else self._weights(logits)
        return [self._guess(*row) for row in zip(logits + noise, logits, *weights, strict=True)]

    def _guess_one(self, scores: NDArray[np.float64]) -> int:
        """Where all symbols are kept, for one row: the same as `_guess`."""
        winner = scores.argmax()
        best = scores[winner]
        scores[winner] = -np.inf
        if scores[scores.argmax()] + EPSILON <= best < np.inf:
            found: int = self._symbols[winner]
            return found
        return -1

    def _guess_all(self, scores: NDArray[np.float64]) -> list[int]:
        """The same for every row at once, which for many is much faster."""
        rows, winners = np.arange(len(scores)), scores.argmax(1)
        best = scores[rows, winners]
        scores[rows, winners] = -np.inf
        clear = (scores.max(1) + EPSILON <= best) & np.isfinite(best)
        found: list[int] = np.where(clear, self._ids[winners], -1).tolist()
        return found

    def _weights(self, logits: Array) -> tuple[Array, list[float]]:
        """Return the symbols' probabilities but for a factor, (rows, symbols), and the sum of those of the `top_k`."""
        with np.errstate(over="ignore", invalid="ignore"):
            weights = np.exp((logits - logits.max(1, keepdims=True)) / np.float64(self.temperature))
        largest = weights if self.top_k is None else np.partition(weights, -self.top_k)[:, -self.top_k :]
        return weights, largest.sum(1).tolist()

    def _guess(self, scores: Array, logits: Array, weights: Array, total: float) -> int:
        """Go from the best score down to a symbol that is kept; all (symbols,)."""
        while True:
            winner = scores.argmax()
            best, scores[winner] = scores[winner], -np.inf
            kept = self._keeps(winner, logits, weights, total)
            if kept is None or not -np.inf < best < np.inf:
                return -1
            if kept:
                return self._symbols[winner] if scores[scores.argmax()] + EPSILON <= best else -1

    def _keeps(self, symbol: np.intp, logits: Array, weights: Array, total: float) -> bool | None:
        """Return whether `top_k` and `top_p` keep a symbol, None where it is too close to tell."""
        if self.top_k is None and self.top_p is None:
            return True
        likelier = logits > logits[symbol] - EPSILON  # perhaps
        likelier[symbol] = False
        if self._leave_room(likelier, weights, self._enough * total):
            return True
        likelier = logits > logits[symbol] + EPSILON  # surely
        return None if self._leave_room(likelier, weights, self._too_much * total) else False

    def _leave_room(self, likelier: NDArray[np.bool_], weights: Array, enough: float) -> bool:
        if self.top_k is not None and np.count_nonzero(likelier) >= self.top_k:
            return False
        return self.top_p is None or bool(weights.dot(likelier) < enough)

    def decide(self, logits: Array, noise: NDArray[np.float64]) -> int:
        """Choose by exact logits (vocabulary,) and the noise of the same text and step (symbols,).

        Raises:
            UserError: no logit is the greatest: one is NaN or infinite.
        """
        logits = logits[self._columns]
        if not np.isfinite(logits.max()):
            raise UserError("the model's logits are not finite: its training diverged; use another checkpoint")
        kept = np.argsort(-logits, kind="stable")[: self.top_k]
        if self.top_p is not None:
            with np.errstate(over="ignore"):
                weights = np.exp((logits[kept] - logits[kept[0]]) / self.temperature)
            kept = kept[weights.cumsum() - weights < self.top_p * weights.sum()]
        return int(self._symbols[kept[(logits + noise)[kept].argmax()]])


def generate(
    steppers: Steppers,
    prompts: Sequence[Sequence[int]],
    length: int,
    sampling: Sampling,
    seeds: Sequence[int],
    opening: int,
) -> Iterator[Symbols]:
    """Write a text after each prompt, all at once: yield the next symbol of each, (rows,), `length` times, as they are
    written, some at a time.

    float32 leads. Its logits stray from the exact ones by its rounding, and that depends on the rows computed at once,
    the BLAS and the threads. Where a choice is nearer than `EPSILON`, which is many times that, float64 decides, which
    reads such a text for itself. So a text is float64's, whatever leads, and the same alone and among others.

    After an empty prompt `opening` comes first, from the zero state. Each text draws random numbers from its own seed.
    """
    texts = [LaggingText(steppers, prompt) for prompt in prompts]
    sources = [np.random.Generator(np.random.PCG64(seed)) for seed in seeds]
    block = max(1, min(length, 64, NOISE // max(1, len(texts) * sampling.size)))
    state, logits = steppers.fast.read(prompts)
    symbols = np.empty(len(texts), np.intp)
    for start in range(0, length, block):
        written, noise = [], sampling.noise(sources, block)
        with np.errstate(over="ignore", invalid="ignore"):  # entering it takes as long as a sum over a row
            for step in range(start, min(start + block, length)):
                if step:
                    logits = steppers.fast.step(symbols, state)
                now = noise[:, step - start]
                for row, symbol in enumerate(sampling.guess(logits, now)):
                    if step == 0 and not prompts[row]:
                        symbol = opening
                    elif symbol < 0:
                        symbol = sampling.decide(texts[row].logits(), now[row])
                    texts[row].unread.append(symbol)
                    symbols[row] = symbol
                written.append(symbols.copy())
        yield from written


class LoadedLanguageModel:
    """A language model with all that its use needs: `generate` for whole texts, `stream` for texts as they are written.

    From the first call on, leave the model's weights as they are: what a step needs of them is copied when it is first
    needed.
    """

    def __init__(
        self,
        model: LanguageModel,
        vocabulary: Vocabulary,
        opening: str,
        config: LanguageModelingConfig,
        data: dict[str, Any],
    ) -> None:
        self.model, self.vocabulary, self.config = model, vocabulary, config
        self.opening = opening  # the training text's first character
        self.data = data  # what the checkpoint says of the training data: source, fingerprint, …
        self._characters = np.flatnonzero([len(token) == 1 for token in vocabulary.tokens])
        self._steppers = Steppers(model)

    @overload
    def generate(
        self,
        prompt: str = "",
        length: int = 500,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int = 0,
        samples: None = None,
    ) -> str: ...

    @overload
    def generate(
        self,
        prompt: str | Sequence[str] = "",
        length: int = 500,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int = 0,
        samples: int | None = None,
    ) -> list[str]: ...

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

        Args:
            prompt: one, or a list of them; after an empty one the text begins as the training text did.
            length: characters after each prompt.
            temperature: 1 takes the model's probabilities, less favours the likely, 0 takes the likeliest.
            top_k: choose among so many of the likeliest characters.
            top_p: choose among the likeliest characters that have this probability together.
            seed: of the first text's random numbers; the text at index i has those of `seed + i`.
            samples: texts of the one prompt.

        Raises:
            DataError: the model does not know a character of a prompt.
            TypeError: a prompt is no string.
            UserError: the model's logits are not finite.
            ValueError: a number out of its range, or `samples` of a list of prompts.
        """
        steps = self.stream(prompt, length, temperature, top_k, top_p, seed, samples)
        texts = ["".join(parts) for parts in zip(_as_list(prompt, samples), *steps, strict=True)]
        return texts[0] if isinstance(prompt, str) and samples is None else texts

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
        """Return what follows the prompts, of which `generate` has the whole: step by step a character of each text.
        Arguments are those of `generate`; wrong ones are refused at once."""
        if length < 1:
            raise ValueError(f"length must be at least 1, not {length}")
        if seed < 0:
            raise ValueError(f"seed must be at least 0, not {seed}")
        sampling = Sampling(self._characters, temperature, top_k, top_p)
        prompts = [self._encode(text) for text in _as_list(prompt, samples)]
        seeds = range(seed, seed + len(prompts))
        steps = generate(self._steppers, prompts, length, sampling, seeds, *self.vocabulary.encode([self.opening]))
        # A first character too rare for the vocabulary is still what the text begins with; no other is unknown.
        tokens = [self.opening if id_ == UNKNOWN_ID else token for id_, token in enumerate(self.vocabulary.tokens)]
        return ([tokens[symbol] for symbol in symbols.tolist()] for symbols in steps)

    def _encode(self, prompt: str) -> list[int]:
        ids = self.vocabulary.encode(prompt)
        if UNKNOWN_ID in ids:
            place = ids.index(UNKNOWN_ID)
            raise DataError(
                f"the prompt's character {prompt[place]!r} (position {place}) is not among the {len(self._characters)} "
                "that the model knows; leave it out"
            )
        return ids


def _as_list(prompt: str | Sequence[str], samples: int | None) -> list[str]:
    """Return each text's prompt."""
    if samples is not None and not isinstance(prompt, str):
        raise ValueError("samples are of one prompt; leave samples out, or repeat each prompt in the list")
    if samples is not None and samples < 1:
        raise ValueError(f"samples must be at least 1, not {samples}")
    prompts = [prompt] * (1 if samples is None else samples) if isinstance(prompt, str) else list(prompt)
    for each in prompts:
        if not isinstance(each, str):
            raise TypeError(f"a prompt is a string, not {type(each).__name__}")
    return prompts
