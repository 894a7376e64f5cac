"""How the next symbol is chosen: temperature, top-k, nucleus, and separate random numbers for each text."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from unroll.errors import UserError
from unroll.inference.arguments import number, whole

Array = NDArray[np.float32]
Symbols = NDArray[np.intp]

BLOCK = 2**16  # random numbers drawn at a time, about


class Sampler:
    """Chooses symbols by their logits, for many texts at once.

    By the Gumbel-max trick (Maddison et al. 2014, arXiv:1411.0030): where noise has the standard Gumbel distribution,
    `logits + temperature * noise` is greatest at symbol i with probability softmax(logits / temperature)[i].
    """

    def __init__(self, symbols: Symbols, temperature: float, top_k: int | None, top_p: float | None) -> None:
        """Set the rules.

        Args:
            symbols: ids that may be chosen, ascending.
            temperature: divides the logits; 0 takes the likeliest symbol.
            top_k: keep this many of the likeliest symbols, of equally likely ones those with lower ids.
            top_p: keep the likeliest of them until their probabilities add up to this (nucleus sampling: Holtzman et
                al. 2020, arXiv:1904.09751).

        Raises:
            TypeError: an argument that is no number.
            ValueError: a number out of its range.
        """
        temperature = number(temperature, "temperature")
        if not (math.isfinite(temperature) and temperature >= 0):
            raise ValueError(f"temperature must be a finite number, at least 0, not {temperature}")
        top_k = None if top_k is None else whole(top_k, "top_k", 1)
        top_p = None if top_p is None else number(top_p, "top_p")
        if top_p is not None and not 0 < top_p <= 1:
            raise ValueError(f"top_p must be above 0 and at most 1, not {top_p}; None keeps all")
        self.symbols, self.top_k, self.top_p = symbols, top_k, None if top_p == 1 else top_p
        # The bounds keep its product with the noise, and logits divided by it, from overflowing.
        self.temperature = np.clip(np.float64(temperature), 1e-30, 1e30) if temperature else np.float64(0)
        self._filters = temperature > 0 and (top_k is not None or self.top_p is not None)

    def noise(self, seed: int, rows: int) -> Iterator[Array]:
        """Yield each step's noise times the temperature, (rows, symbols). A number depends on the seed, the row, the
        step and the symbol alone."""
        sources = [
            np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(row,)))) for row in range(rows)
        ]
        steps = max(1, min(64, BLOCK // (rows * len(self.symbols))))
        while True:
            # Minus the logarithm of an exponential variable is a Gumbel variable. In float32 its tail would be cut.
            noise = np.stack([source.standard_exponential((steps, len(self.symbols))) for source in sources], axis=1)
            np.log(np.maximum(noise, np.finfo(np.float64).tiny, out=noise), out=noise)
            yield from np.multiply(noise, -self.temperature).astype(np.float32)

    def choose(self, logits: Array, noise: Array) -> Symbols:
        """Return a symbol for each row, (rows,), by logits (rows, vocabulary) and a step's noise (rows, symbols).

        Raises:
            UserError: a logit is NaN or infinite.
        """
        logits = logits[:, self.symbols]
        if not np.isfinite(logits).all():
            raise UserError("the model's logits are not finite: its training diverged; use another checkpoint")
        if not self._filters:
            winners: Symbols = self.symbols[(logits + noise).argmax(1)]
            return winners
        rows, order = np.arange(len(logits)), np.argsort(-logits, axis=1, kind="stable")[:, : self.top_k]
        kept = logits[rows[:, None], order]  # the likeliest first
        scores = kept + noise[rows[:, None], order]
        if self.top_p is not None:
            weights = np.exp((kept - kept[:, :1]) / self.temperature)
            sums = weights.cumsum(1)
            scores[sums - weights >= self.top_p * sums[:, -1:]] = -np.inf
        chosen: Symbols = self.symbols[order[rows, scores.argmax(1)]]
        return chosen


class SurpriseSampler(Sampler):
    """A sampler that notes in `bits` how much each of its last choices surprises the model."""

    bits: NDArray[np.float64]

    def choose(self, logits: Array, noise: Array) -> Symbols:
        """Choose as `Sampler` does. `bits`, (rows,), are -log2 of the symbols' probabilities among all that may be
        chosen, at temperature 1: what the model expected, whatever the rules made of it."""
        chosen = super().choose(logits, noise)
        own = logits[np.arange(len(logits)), chosen].astype(np.float64)
        among = logits[:, self.symbols].astype(np.float64)
        most = among.max(1)
        self.bits = (most + np.log(np.exp(among - most[:, None]).sum(1)) - own) / math.log(2)
        return chosen
