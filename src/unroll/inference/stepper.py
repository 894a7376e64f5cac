"""A language model's recurrence one step at a time.

Each symbol of a text depends on the one before, so a kernel over whole sequences does not help. A step is so small that
calling torch takes many times as long as its arithmetic. So NumPy computes the steps of the cells in `_CELLS`: one
product per layer and a few operations in place. Any other encoder or output layer steps by the model's `forward`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unroll.encoders import RecurrentEncoder
from unroll.models.language_model import LanguageModel

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


def make_stepper(model: LanguageModel) -> Stepper:
    """Return the fastest stepper of a model. Do not change the model's weights while it is in use."""
    encoder = model.encoder
    # The exact type: a subclass may compute something else.
    if type(encoder) is RecurrentEncoder and encoder.cell in _CELLS and model.adaptive is None:
        return NumpyStepper(model)
    return TorchStepper(model)


class TorchStepper:
    """Steps of any model, by the `forward` of the model itself. A copy would fail where hooks can't be copied."""

    def __init__(self, model: LanguageModel) -> None:
        self._model, self._device = model, next(model.parameters()).device

    def read(self, prompts: Sequence[Sequence[int]]) -> tuple[Any, Array]:
        # With `carry=0`, for an empty prompt, the state is the one before any symbol.
        after = {p: self._forward([p or (0,)], carry=len(p), last=1) for p in set(map(tuple, prompts))}
        states, logits = zip(*(after[tuple(prompt)] for prompt in prompts), strict=True)
        return _join(states), np.concatenate(logits)

    def step(self, symbols: NDArray[np.intp], state: Any) -> tuple[Any, Array]:
        return self._forward(symbols[:, None], state)

    @torch.inference_mode()
    def _forward(self, ids: Any, *args: Any, **kwargs: int) -> tuple[Any, Array]:
        in_training = [module for module in self._model.modules() if module.training]
        self._model.eval()
        try:
            logits, state = self._model(torch.as_tensor(ids, device=self._device), *args, **kwargs)
        finally:
            for module in in_training:
                module.training = True
        return state, logits[:, -1].float().cpu().numpy()


def _join(states: Sequence[Any]) -> Any:
    """Join the rows of states, each a tensor (layers, batch, features) or a tuple of such tensors."""
    if isinstance(states[0], Tensor):
        return torch.cat(list(states), dim=1)
    return tuple(map(_join, zip(*states, strict=True)))


class NumpyStepper:
    """The steps of a `RecurrentEncoder` of one of the `_CELLS`."""

    @torch.no_grad()
    def __init__(self, model: LanguageModel) -> None:
        encoder = model.encoder
        assert isinstance(encoder, RecurrentEncoder) and model.bias is not None
        self._cell, inputs = _CELLS[encoder.cell], _gates(encoder, "ih", 0).T
        weights, biases = inputs[:-1], inputs[-1]
        if model.embedding is not None:
            weights = model.embedding.weight.cpu().double() @ weights
        self._table = _numpy(weights + biases)  # (vocabulary, gates x hidden): the first layer's inputs
        above = [_gates(encoder, "ih", layer) for layer in range(1, encoder.num_layers)]
        above.append(torch.column_stack([model.output_weight, model.bias]).cpu().double())
        self._matrices = [
            _numpy(torch.cat([_gates(encoder, "hh", layer), above[layer]]).T) for layer in range(encoder.num_layers)
        ]

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


_CELLS = {
    "rnn_tanh": _Cell(_tanh),
    "rnn_relu": _Cell(_relu),
    "gru": _Cell(_gru, (0, 1, 2), sigmoids=2),
    "lstm": _Cell(_lstm, (0, 1, 3, 2), sigmoids=3),
}


def _gates(encoder: RecurrentEncoder, side: str, layer: int) -> Tensor:
    """Return a layer's weights of its input (`ih`) or its own output (`hh`), and their biases in the last column:
    (gates x hidden, features + 1), the gates in our order, sigmoids' halved, in float64."""
    names = (f"weight_{side}_l{layer}", f"bias_{side}_l{layer}")
    values = torch.column_stack([getattr(encoder, name) for name in names]).cpu().double()
    cell = _CELLS[encoder.cell]
    gates = values.view(len(cell.order), encoder.hidden_size, -1)[list(cell.order)]
    gates[: cell.sigmoids] *= 0.5
    return gates.view(values.shape)


def _numpy(values: Tensor) -> Array:
    """Return an array of torch's memory: it is aligned to 64 bytes, NumPy's to 16, and a row's product takes longer."""
    array: Array = values.float().contiguous().numpy()
    return array
