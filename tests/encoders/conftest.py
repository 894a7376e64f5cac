"""The oracle of the encoders: torch.nn's own modules over a PackedSequence."""

from collections.abc import Callable, Iterable
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from unroll.encoders import RecurrentEncoder

MODULES = {
    "rnn_tanh": partial(nn.RNN, nonlinearity="tanh"),
    "rnn_relu": partial(nn.RNN, nonlinearity="relu"),
    "gru": nn.GRU,
    "lstm": nn.LSTM,
}


@pytest.fixture
def make_module() -> Callable:
    """Makes torch.nn's module of a cell: (cell, input_size, hidden_size, ...) -> nn.RNN, nn.GRU or nn.LSTM."""
    return lambda cell, *sizes, **options: MODULES[cell](*sizes, batch_first=True, **options)


@pytest.fixture
def make_encoder() -> Callable:
    """Makes an encoder with random weights and biases: (..., dtype) -> RecurrentEncoder."""

    def make(*arguments: object, dtype: torch.dtype = torch.float32, **options: object) -> RecurrentEncoder:
        encoder = RecurrentEncoder(*arguments, **options).to(dtype)
        for parameter in encoder.parameters():
            nn.init.uniform_(parameter, -0.4, 0.4)
        return encoder

    return make


@pytest.fixture
def make_state() -> Callable:
    """Makes a random initial state for an encoder: (encoder, batch) -> a tensor, or the LSTM's pair."""

    def make(encoder: RecurrentEncoder, batch: int) -> Tensor | tuple[Tensor, Tensor]:
        shape = (encoder.num_layers * (2 if encoder.bidirectional else 1), batch, encoder.hidden_size)
        dtype = encoder.weight_ih_l0.dtype
        h, c = torch.randn(shape, dtype=dtype), torch.randn(shape, dtype=dtype)
        return (h, c) if encoder.cell == "lstm" else h

    return make


@pytest.fixture
def torch_nn() -> Callable:
    """Makes torch.nn's module with an encoder's weights: encoder -> (forward(x, lengths, state), its parameters)."""

    def make(encoder: RecurrentEncoder) -> tuple[Callable, dict[str, nn.Parameter]]:
        module = MODULES[encoder.cell](
            encoder.input_size,
            encoder.hidden_size,
            encoder.num_layers,
            batch_first=True,
            bidirectional=encoder.bidirectional,
        ).to(encoder.weight_ih_l0.dtype)
        module.load_state_dict(encoder.state_dict())

        def forward(x: Tensor, lengths: Tensor, state: object = None) -> tuple[Tensor, object]:
            packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
            output, after = module(packed, state)
            return pad_packed_sequence(output, batch_first=True, total_length=x.size(1))[0], after

        return forward, dict(module.named_parameters())

    return make


@pytest.fixture
def measure() -> Callable:
    """Runs forward and backward: (forward, parameters, x, lengths, state) -> every result and gradient by name.

    The loss weighs all outputs, padding included, and the final states with fixed random numbers.
    """

    def run(
        forward: Callable,
        parameters: dict[str, nn.Parameter],
        x: Tensor,
        lengths: Tensor | None,
        state: Tensor | tuple[Tensor, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        leaves = {"x": x, **{f"initial state {i}": part for i, part in enumerate(_parts(state))}}
        leaves = {name: leaf.detach().clone().requires_grad_() for name, leaf in leaves.items()}
        before = tuple(leaf for name, leaf in leaves.items() if name != "x")
        state = before if isinstance(state, tuple) else before[0] if before else None
        output, after = forward(leaves["x"], lengths, state)
        results = {"output": output, **{f"final state {i}": part for i, part in enumerate(_parts(after))}}
        numbers = torch.Generator().manual_seed(1)
        loss = sum((part * torch.randn(part.shape, generator=numbers).to(part)).sum() for part in results.values())
        inputs = {**leaves, **parameters}
        gradients = torch.autograd.grad(loss, list(inputs.values()))
        results |= {f"gradient of {name}": gradient for name, gradient in zip(inputs, gradients, strict=True)}
        return {name: result.detach() for name, result in results.items()}

    return run


@pytest.fixture
def assert_same() -> Callable:
    """Compares what `measure` gives: (actual, expected, atol)."""

    def check(actual: dict[str, Tensor], expected: dict[str, Tensor], atol: float) -> None:
        assert actual.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(
                actual[name], value, atol=atol, rtol=0, msg=lambda text, name=name: f"{name}: {text}"
            )

    return check


def _parts(state: Tensor | Iterable[Tensor] | None) -> tuple[Tensor, ...]:
    return () if state is None else (state,) if isinstance(state, Tensor) else tuple(state)
