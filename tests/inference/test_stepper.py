"""The recurrence in NumPy against torch.nn's, step by step."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unroll.encoders import CELLS, RecurrentEncoder
from unroll.inference.stepper import LaggingText, Stepper, Steppers
from unroll.models.language_model import LanguageModel

SYMBOLS, HIDDEN = 11, 9
MODULES = {
    "rnn_tanh": nn.RNN,
    "rnn_relu": lambda *sizes, **options: nn.RNN(*sizes, nonlinearity="relu", **options),
    "gru": nn.GRU,
    "lstm": nn.LSTM,
}
INPUTS = {"embedding": 7, "one_hot": SYMBOLS, "tied": HIDDEN}  # their features


def make_model(cell: str, num_layers: int = 1, inputs: str = "embedding", hidden: int = HIDDEN) -> LanguageModel:
    """A model with no weight or bias at zero."""
    model = LanguageModel(
        RecurrentEncoder(cell, INPUTS[inputs], hidden, num_layers),
        vocabulary_size=SYMBOLS,
        one_hot=inputs == "one_hot",
        tie_weights=inputs == "tied",
    )
    for parameter in model.parameters():
        nn.init.uniform_(parameter, -0.5, 0.5)
    return model


@torch.no_grad()
def expected_logits(model: LanguageModel, ids: Tensor) -> np.ndarray:
    """(rows, time, vocabulary): torch.nn's module in float64, one step at a time."""
    encoder = model.encoder
    module = MODULES[encoder.cell](encoder.input_size, encoder.hidden_size, encoder.num_layers, batch_first=True)
    module.load_state_dict(encoder.state_dict())
    module.double()
    table = torch.eye(SYMBOLS) if model.embedding is None else model.embedding.weight
    weight = table if model.weight is None else model.weight
    state, logits = None, []
    for column in ids.split(1, dim=1):
        output, state = module(F.embedding(column, table.double()), state)
        logits.append(output @ weight.double().T + model.bias.double())
    return torch.cat(logits, dim=1).numpy()


def stepped(stepper: Stepper, ids: Tensor) -> np.ndarray:
    state = stepper.start(rows=len(ids))
    return np.stack([stepper.step(column, state).copy() for column in ids.T.numpy()], axis=1)


@pytest.mark.parametrize("rows", [1, 5])
@pytest.mark.parametrize("inputs", INPUTS)
@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("cell", CELLS)
def test_a_step_is_torchs(cell: str, num_layers: int, inputs: str, rows: int) -> None:
    model = make_model(cell, num_layers, inputs)
    ids = torch.randint(SYMBOLS, (rows, 12))
    expected = expected_logits(model, ids)
    for dtype, tolerance in ((np.float64, 1e-10), (np.float32, 1e-5)):
        actual = stepped(Stepper(model, dtype), ids)
        assert actual.dtype == dtype
        np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * max(1, abs(expected).max()))


def test_three_layers_and_a_model_in_float64() -> None:
    model = make_model("gru", 3).double()
    ids = torch.randint(SYMBOLS, (2, 12))
    np.testing.assert_allclose(stepped(Stepper(model, np.float64), ids), expected_logits(model, ids), atol=1e-10)


def test_dropout_is_left_out_and_later_weights_too() -> None:
    encoder = RecurrentEncoder("lstm", 7, HIDDEN, 2, dropout=0.5)
    model = LanguageModel(encoder, vocabulary_size=SYMBOLS, input_dropout=0.5, output_dropout=0.5).double().train()
    ids = torch.randint(SYMBOLS, (3, 6))
    expected, stepper = expected_logits(model, ids), Stepper(model, np.float64)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(7.0)
    np.testing.assert_allclose(stepped(stepper, ids), expected, atol=1e-10)


def test_float32_does_not_drift() -> None:
    model = make_model("lstm", hidden=64)
    ids = torch.randint(SYMBOLS, (3, 2000))
    error = abs(stepped(Stepper(model, np.float32), ids) - expected_logits(model, ids))
    assert error[:, 1000:].max() < 1e-5


@pytest.mark.parametrize("cell", CELLS)
def test_huge_weights_warn_of_nothing_and_only_a_relu_overflows(cell: str) -> None:
    model = make_model(cell, 2)
    with torch.no_grad():
        for parameter in model.encoder.parameters():
            parameter.abs_().mul_(1e30)
    ids = torch.randint(SYMBOLS, (3, 20))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for rows in (ids, ids[:1]):
            _, logits = Stepper(model).read(rows.tolist())
            assert np.isfinite(logits).all() == (cell != "rnn_relu")


@pytest.mark.parametrize("cell", CELLS)
def test_prompts_are_read_each_on_its_own(cell: str) -> None:
    model, prompts = make_model(cell, 2), [[3, 1, 4, 1, 5], [9], [2, 6, 5], [9], []]
    stepper = Stepper(model, np.float64)
    state, logits = stepper.read(prompts)
    following = stepper.step(np.full(5, 8), state)
    assert not logits[4].any()
    for row, prompt in enumerate(prompts):
        expected = expected_logits(model, torch.tensor([[*prompt, 8]]))[0]
        np.testing.assert_allclose(following[row], expected[-1], atol=1e-10)
        if prompt:
            np.testing.assert_allclose(logits[row], expected[-2], atol=1e-10)


def test_a_text_catches_up_whenever_it_is_asked() -> None:
    model, ids = make_model("lstm"), torch.randint(SYMBOLS, (1, 40))
    expected = expected_logits(model, ids)[0]
    text = LaggingText(Steppers(model), ids[0, :5].tolist())
    for t, symbol in enumerate(ids[0, 5:].tolist(), start=5):
        if t in (5, 6, 20, 39):
            np.testing.assert_allclose(text.logits(), expected[t - 1], atol=1e-10)
            assert not text.unread  # it holds what it has not read, and no more
        text.unread.append(symbol)
    np.testing.assert_allclose(text.logits(), expected[-1], atol=1e-10)
