"""A language model's recurrence one step at a time, in NumPy.

A text's next symbol depends on the one before, so no kernel over whole sequences helps, and a step is so small that
torch's calls cost many times their arithmetic. Here a step of a layer is one product and a few operations in place.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from unroll.encoders import RecurrentEncoder
from unroll.models.language_model import LanguageModel

Array = NDArray[np.floating]

# A sigmoid is taken as (1 + tanh(x / 2)) / 2, so that one call does all gates of a layer. Its halves cost nothing: the
# inner one is in the weights; the outer one is left out, such that a gate is twice what torch.nn's is, and made up for
# in the weights that the output meets (LSTM) or together with another factor. All are powers of two, hence exact.
_ORDER = {"rnn_tanh": [0], "rnn_relu": [0], "gru": [0, 1, 2], "lstm": [3, 0, 1, 2]}  # of torch's gates: sigmoids first
_FROM_INPUT = {"rnn_tanh": [1.0], "rnn_relu": [1.0], "gru": [0.5, 0.5, 1.0], "lstm": [0.5, 0.5, 0.5, 1.0]}
_FROM_OUTPUT = {"rnn_tanh": [1.0], "rnn_relu": [1.0], "gru": [0.5, 0.5, 0.5], "lstm": [0.25, 0.25, 0.25, 0.5]}
_ABOVE = {"rnn_tanh": 1.0, "rnn_relu": 1.0, "gru": 1.0, "lstm": 0.5}


@dataclass(frozen=True)
class _Weights:
    """What a layer's output meets next, in one matrix: its own gates at the next step, and the layer above."""

    matrix: Array  # (hidden, gates x hidden + above)
    bias: Array  # (above,), of the layer above
    inner_bias: Array  # (hidden,), of the GRU's candidate: it stands inside the reset gate's product


class _Layer(ABC):
    """A layer over `rows` texts: its state, its buffers, and views of their parts (made once: a view costs as much as a
    sum over a row)."""

    def __init__(self, weights: _Weights, gates: int, rows: int) -> None:
        hidden, outputs = weights.matrix.shape
        dtype = weights.matrix.dtype
        self.weights, self.half, self.one = weights, dtype.type(0.5), dtype.type(1)
        self.products = np.zeros((rows, outputs), dtype)  # of the last output with `matrix`
        self.recurrent, self.upward = self.products[:, : gates * hidden], self.products[:, gates * hidden :]
        self.raised = np.empty(self.upward.shape, dtype)
        # An LSTM's cell state follows its candidate, so that the input and the forget gate meet both in one product.
        block = np.zeros((rows, (gates + 1) * hidden), dtype)
        self.gates, self.sigmoids = block[:, : gates * hidden], block[:, : (gates - 1) * hidden]
        self.parts = [block[:, k * hidden : (k + 1) * hidden] for k in range(gates + 1)]
        self.memory = self.parts[-1]  # the cell state, or the output where there is none
        self.middle, self.end = block[:, hidden : 3 * hidden], block[:, 3 * hidden :]
        self.terms = np.empty((rows, 2 * hidden), dtype)
        self.term = self.terms[:, :hidden], self.terms[:, hidden:]

    def step(self, x: Array) -> Array:
        """Take the inputs of the gates (rows or 1, gates x hidden), return those of the layer above."""
        np.dot(self.advance(x), self.weights.matrix, out=self.products)
        return np.add(self.upward, self.weights.bias, out=self.raised)

    @abstractmethod
    def advance(self, x: Array) -> Array:
        """Take the inputs of the gates, return the output (rows, hidden)."""


class _Tanh(_Layer):
    def advance(self, x: Array) -> Array:
        np.add(self.recurrent, x, out=self.memory)
        return np.tanh(self.memory, out=self.memory)


class _Relu(_Layer):
    def advance(self, x: Array) -> Array:
        np.add(self.recurrent, x, out=self.memory)
        return np.maximum(self.memory, 0, out=self.memory)


class _GRU(_Layer):
    """n = tanh(x + r * (recurrent + inner bias)), h = n + z * (h - n)."""

    def __init__(self, weights: _Weights, gates: int, rows: int) -> None:
        super().__init__(weights, gates, rows)
        width = self.sigmoids.shape[1]
        self.recurrent, self.recurrent_candidate = self.recurrent[:, :width], self.recurrent[:, width:]

    def advance(self, x: Array) -> Array:
        (reset, keep, candidate, h), width = self.parts, self.sigmoids.shape[1]
        np.add(self.recurrent, x[..., :width], out=self.sigmoids)
        np.tanh(self.sigmoids, out=self.sigmoids)
        np.add(self.sigmoids, self.one, out=self.sigmoids)
        np.add(self.recurrent_candidate, self.weights.inner_bias, out=candidate)
        np.multiply(candidate, reset, out=candidate)
        np.add(candidate, x[..., width:], out=candidate)
        np.tanh(candidate, out=candidate)
        np.subtract(h, candidate, out=h)
        np.multiply(h, keep, out=h)
        np.multiply(h, self.half, out=h)
        return np.add(h, candidate, out=h)


class _LSTM(_Layer):
    """c = f * c + i * g, h = o * tanh(c), with the gates in the order o, i, f, g; returns 2 h."""

    def advance(self, x: Array) -> Array:
        c, output = self.memory, self.term[0]
        np.add(self.recurrent, x, out=self.gates)
        np.tanh(self.gates, out=self.gates)
        np.add(self.sigmoids, self.one, out=self.sigmoids)
        np.multiply(self.middle, self.end, out=self.terms)
        np.add(*self.term, out=c)
        np.multiply(c, self.half, out=c)
        np.tanh(c, out=output)
        return np.multiply(output, self.parts[0], out=output)


_LAYERS: dict[str, type[_Layer]] = {"rnn_tanh": _Tanh, "rnn_relu": _Relu, "gru": _GRU, "lstm": _LSTM}


class State:
    """What the next step needs to know of `rows` texts; `Stepper.step` changes it in place."""

    def __init__(self, layers: list[_Layer]) -> None:
        self.layers = layers

    def copy_row(self, row: int, source: State) -> None:
        """Take over the one text of `source`, a state of the same stepper, in place of a row."""
        for layer, other in zip(self.layers, source.layers, strict=True):
            layer.products[row], layer.memory[row] = other.products[0], other.memory[0]


class Stepper:
    """The language model's recurrence over `rows` texts at once: symbols in, logits out.

    >>> stepper = Stepper(model)  # doctest: +SKIP
    >>> state = stepper.start(rows=1)  # doctest: +SKIP
    >>> logits = stepper.step(np.array([7]), state)  # doctest: +SKIP
    """

    def __init__(self, model: LanguageModel, dtype: type[np.floating] = np.float32) -> None:
        """Lay the weights out, as they are now.

        Args:
            model: on any device; drop-out is left out, as in evaluation.
            dtype: of all that `step` computes.
        """
        encoder = model.encoder
        self.vocabulary_size = model.vocabulary_size
        self._layer, self._gates = _LAYERS[encoder.cell], len(_ORDER[encoder.cell])
        inputs = [_input_side(encoder, k) for k in range(encoder.num_layers)]
        table = inputs[0][0].T if model.embedding is None else _array(model.embedding.weight) @ inputs[0][0].T
        self._table = np.ascontiguousarray(table + inputs[0][1], dtype)  # (vocabulary, gates x hidden)
        above = [*inputs[1:], (_array(model.output_weight), _array(model.bias))]
        self._weights = [
            _Weights(*(np.array(part, dtype) for part in _output_side(encoder, k, *above[k])))
            for k in range(encoder.num_layers)
        ]

    def start(self, rows: int) -> State:
        """Return the state before the first symbol: zeros."""
        weights = self._weights if rows == 1 else self._weights_of_many
        return State([self._layer(each, self._gates, rows) for each in weights])

    @cached_property
    def _weights_of_many(self) -> list[_Weights]:
        return [replace(weights, matrix=np.ascontiguousarray(weights.matrix)) for weights in self._weights]

    def step(self, symbols: NDArray[np.integer], state: State) -> Array:
        """Read a symbol of each text, and return the logits of those that follow.

        Args:
            symbols: (rows,).
            state: after the symbols so far; changed in place.

        Returns:
            (rows, vocabulary), a buffer of `state` that the next step overwrites. An overflow gives infinities or NaN,
            and NumPy's warning.
        """
        x: Array = self._table[symbols[0] if len(symbols) == 1 else symbols]  # one row as a view, several as a copy
        for layer in state.layers:
            x = layer.step(x)
        return x

    @np.errstate(over="ignore", invalid="ignore")
    def read(self, prompts: Sequence[Sequence[int]]) -> tuple[State, Array]:
        """Return the state after the symbols of each prompt, and the logits of what follows, (rows, vocabulary); zeros
        where there is no symbol. Each prompt is read on its own, equal ones once."""
        state, logits = self.start(len(prompts)), np.zeros((len(prompts), self.vocabulary_size))
        rows = defaultdict(list)
        for row, prompt in enumerate(prompts):
            if prompt:
                rows[tuple(prompt)].append(row)
        for symbols, of_it in rows.items():
            alone = self.start(rows=1)
            for symbol in symbols:
                following = self.step(np.array([symbol]), alone)
            logits[of_it] = following
            for row in of_it:
                state.copy_row(row, alone)
        return state, logits


def _input_side(encoder: RecurrentEncoder, layer: int) -> tuple[Array, Array]:
    """Return what makes a layer's gates of its input: weight (gates x hidden, features) and bias (gates x hidden,)."""
    bias = _array(getattr(encoder, f"bias_hh_l{layer}")).copy()
    if encoder.cell == "gru":
        bias[-encoder.hidden_size :] = 0  # the candidate's stands inside the reset gate's product
    bias += _array(getattr(encoder, f"bias_ih_l{layer}"))
    scales = _FROM_INPUT[encoder.cell]
    return _arrange(_array(getattr(encoder, f"weight_ih_l{layer}")), encoder, scales), _arrange(bias, encoder, scales)


def _output_side(encoder: RecurrentEncoder, layer: int, above: Array, bias: Array) -> tuple[Array, Array, Array]:
    """Return what a layer's output meets, as `_Weights` has it; `above` is (above, hidden)."""
    recurrent = _arrange(_array(getattr(encoder, f"weight_hh_l{layer}")), encoder, _FROM_OUTPUT[encoder.cell])
    matrix = np.concatenate([recurrent, _ABOVE[encoder.cell] * above])
    return matrix.T, bias, 0.5 * _array(getattr(encoder, f"bias_hh_l{layer}"))[-encoder.hidden_size :]


def _arrange(values: Array, encoder: RecurrentEncoder, scales: list[float]) -> Array:
    """Reorder torch's gates in `values` (gates x hidden, ...), and scale each."""
    order = _ORDER[encoder.cell]
    gates: Array = values.reshape(len(order), encoder.hidden_size, -1)[order] * np.array(scales)[:, None, None]
    return gates.reshape(values.shape)


def _array(parameter: Tensor) -> Array:
    return parameter.detach().cpu().double().numpy()


class Steppers:
    """A model's two steppers, each made when it is first asked for, from the weights as they are then."""

    def __init__(self, model: LanguageModel) -> None:
        self._model = model

    @cached_property
    def fast(self) -> Stepper:
        """In float32."""
        return Stepper(self._model, np.float32)

    @cached_property
    def exact(self) -> Stepper:
        """In float64."""
        return Stepper(self._model, np.float64)


class LaggingText:
    """One text as float64 reads it, which catches up when it is asked. Each symbol is read once, so this never costs
    more than float64 all along would."""

    def __init__(self, steppers: Steppers, prompt: Sequence[int]) -> None:
        self._steppers = steppers
        self.unread = list(prompt)  # to be appended to
        self._state: State | None = None

    def logits(self) -> Array:
        """Return the logits of what follows, (vocabulary,); there is something unread."""
        stepper = self._steppers.exact
        if self._state is None:
            self._state = stepper.start(rows=1)
        for symbol in self.unread:
            logits = stepper.step(np.array([symbol]), self._state)
        self.unread.clear()
        following: Array = logits[0]
        return following
