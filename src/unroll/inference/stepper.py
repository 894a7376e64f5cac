"""A language model's recurrence one step at a time.

Each symbol of a text depends on the one before, so a kernel over whole sequences does not help. A step is so small that
calling torch takes many times as long as its arithmetic. So NumPy computes the steps of the cells in `CELLS`: one
product per layer and a few operations in place. Any other encoder or output layer steps by the model's `forward`, see
`unroll.inference.torch_stepper`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from unroll.config import LanguageModelingConfig
from unroll.inference.arrays import Arrays

Array = NDArray[np.float32]


class Stepper(Protocol):
    """A language model that reads several texts at once, in float32, without drop-out. If numbers overflow, logits are
    infinite or NaN."""

    def read(self, prompts: Sequence[Sequence[int]]) -> tuple[Any, Array]:
        """Read each prompt from the zero state. Return the state, and the logits (rows, vocabulary) for the symbols
        that follow. After an empty prompt the logits have no meaning."""

    def step(self, symbols: NDArray[np.intp], state: Any) -> tuple[Any, Array]:
        """Read one symbol of each text, (rows,), in the state that the last call returned. Return what `read` returns.
        The given state must not be used again, and the next call may overwrite the logits."""


class NumpyStepper:
    """The steps of a `RecurrentEncoder` of one of the `CELLS`, under a full softmax."""

    @staticmethod
    def can_step(config: LanguageModelingConfig) -> bool:
        """Return whether a model of these settings is of that kind."""
        return config.encoder.cell in CELLS and not config.model.cutoffs

    def __init__(self, cell: str, arrays: Arrays) -> None:
        """Prepare the weights of a `LanguageModel` with an encoder of that cell; see `Weights.arrays`."""
        self._cell = CELLS[cell]
        layers = sum(name.startswith("encoder.weight_hh_l") for name in arrays)
        inputs = self._gates(arrays, "ih", 0).T
        weights, biases = inputs[:-1], inputs[-1]
        embedding = arrays.get("embedding.weight")
        if embedding is not None:
            weights = embedding.astype(np.float64) @ weights
        self._table = _aligned(weights + biases)  # (vocabulary, gates x hidden): the first layer's inputs
        above = [self._gates(arrays, "ih", layer) for layer in range(1, layers)]
        above.append(_joined(arrays.get("weight", embedding), arrays["bias"]))
        self._matrices = [
            _aligned(np.concatenate([self._gates(arrays, "hh", layer), above[layer]]).T) for layer in range(layers)
        ]

    def _gates(self, arrays: Arrays, side: str, layer: int) -> NDArray[np.float64]:
        """Return a layer's weights of its input (`ih`) or its own output (`hh`), and their biases in the last column:
        (gates x hidden, features + 1), the gates in our order, sigmoids' halved."""
        values = _joined(*(arrays[f"encoder.{kind}_{side}_l{layer}"] for kind in ("weight", "bias")))
        cell = self._cell
        gates = values.reshape(len(cell.order), -1, values.shape[1])[list(cell.order)]
        gates[: cell.sigmoids] *= 0.5
        return gates.reshape(values.shape)

    def read(self, prompts: Sequence[Sequence[int]]) -> tuple[list[_Layer], Array]:
        """Equal prompts are read once."""
        state, rows = self._start(len(prompts)), defaultdict(list)
        for row, prompt in enumerate(prompts):
            rows[tuple(prompt)].append(row)
        for prompt, equal in rows.items():
            alone = self._start(1)
            for symbol in prompt:
                self.step(np.array([symbol]), alone)
            for layer, source in zip(state, alone, strict=True):
                layer.products[equal], layer.output[equal], layer.c[equal] = source.products, source.output, source.c
        return state, state[-1].upward

    def step(self, symbols: NDArray[np.intp], state: list[_Layer]) -> tuple[list[_Layer], Array]:
        x: Array = self._table[symbols[0] if len(symbols) == 1 else symbols]  # one row as a view, several as a copy
        with np.errstate(over="ignore", invalid="ignore"):
            for layer in state:
                x = layer.step(x)
        return state, x

    def _start(self, rows: int) -> list[_Layer]:
        return [_Layer(matrix, self._cell, rows) for matrix in self._matrices]


class _Layer:
    """A layer over `rows` texts: its state and its buffers, with views of their parts. The views are made once, since
    making one takes as long as adding up a row."""

    def __init__(self, matrix: Array, cell: _Cell, rows: int) -> None:
        """Start from the zero state.

        The matrix, (hidden + 1, gates x hidden + above), takes the output to the layer's own gates at the next step and
        to what stands above: the next layer's gates, or the logits. Its last row holds the biases.
        """
        hidden, gates = len(matrix) - 1, len(cell.order)
        self.matrix, self.advance = matrix, cell.advance
        self.output = np.zeros((rows, hidden + 1), np.float32)
        self.output[:, -1] = 1  # meets the biases
        self.h, self.c = self.output[:, :-1], np.zeros((rows, hidden), np.float32)
        self.products = np.repeat(matrix[-1:], rows, axis=0)  # of the output with the matrix
        self.recurrent, self.upward = np.split(self.products, [gates * hidden], axis=1)
        self.gates = np.empty((rows, gates * hidden), np.float32)
        self.parts = np.split(self.gates, gates, axis=1)
        self.sigmoids = self.gates[:, : cell.sigmoids * hidden]
        self.recurrent_sigmoids, self.recurrent_candidate = np.split(self.recurrent, [cell.sigmoids * hidden], axis=1)

    def step(self, x: Array) -> Array:
        """Take the inputs of the gates (rows or 1, gates x hidden), return those of what stands above."""
        self.advance(self, x)
        np.dot(self.output, self.matrix, out=self.products)
        return self.upward


def _tanh(layer: _Layer, x: Array) -> None:
    np.add(layer.recurrent, x, out=layer.h)
    np.tanh(layer.h, out=layer.h)


def _relu(layer: _Layer, x: Array) -> None:
    np.add(layer.recurrent, x, out=layer.h)
    np.maximum(layer.h, 0, out=layer.h)


def _gru(layer: _Layer, x: Array) -> None:
    (reset, keep, candidate), h, width = layer.parts, layer.h, layer.sigmoids.shape[1]
    _activate(layer, layer.sigmoids, layer.recurrent_sigmoids, x[..., :width])
    np.multiply(layer.recurrent_candidate, reset, out=candidate)
    np.add(candidate, x[..., width:], out=candidate)
    np.tanh(candidate, out=candidate)
    np.subtract(h, candidate, out=h)
    np.multiply(h, keep, out=h)
    np.add(h, candidate, out=h)


def _lstm(layer: _Layer, x: Array) -> None:
    (input_, forget, output, candidate), c, h = layer.parts, layer.c, layer.h
    _activate(layer, layer.gates, layer.recurrent, x)
    np.multiply(candidate, input_, out=candidate)
    np.multiply(c, forget, out=c)
    np.add(c, candidate, out=c)
    np.tanh(c, out=h)
    np.multiply(h, output, out=h)


def _activate(layer: _Layer, gates: Array, recurrent: Array, x: Array) -> None:
    """Since sigmoid(x) = (1 + tanh(x / 2)) / 2, one call of tanh serves all gates. The weights hold the x / 2."""
    np.add(recurrent, x, out=gates)
    np.tanh(gates, out=gates)
    np.add(layer.sigmoids, 1, out=layer.sigmoids)
    np.multiply(layer.sigmoids, 0.5, out=layer.sigmoids)


@dataclass(frozen=True)
class _Cell:
    """How a cell's step is computed."""

    advance: Callable[[_Layer, Array], None]  # from the gates' inputs to the new `layer.h`
    order: tuple[int, ...] = (0,)  # of torch's gates, the sigmoids first
    sigmoids: int = 0


CELLS = {
    "rnn_tanh": _Cell(_tanh),
    "rnn_relu": _Cell(_relu),
    "gru": _Cell(_gru, (0, 1, 2), sigmoids=2),
    "lstm": _Cell(_lstm, (0, 1, 3, 2), sigmoids=3),
}


def _joined(weights: Any, biases: Any) -> NDArray[np.float64]:
    """Return weights (rows, features) in float64, with the biases as one more column."""
    return np.column_stack([weights, biases]).astype(np.float64)


def _aligned(values: NDArray[np.float64]) -> Array:
    """Return a float32 array whose memory begins at a multiple of 64 bytes: at NumPy's 16, a row's product takes
    longer."""
    memory = np.empty(values.size + 16, np.float32)
    start = -memory.ctypes.data % 64 // 4
    array = memory[start : start + values.size].reshape(values.shape)
    array[:] = values
    return array
