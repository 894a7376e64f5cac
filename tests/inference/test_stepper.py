"""The recurrence step by step, in NumPy and by a model's `forward`, against torch.nn's in float64."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unroll.encoders import CELLS, RecurrentEncoder
from unroll.inference.arrays import Weights
from unroll.inference.stepper import NumpyStepper, Stepper
from unroll.inference.torch_stepper import TorchStepper, make_stepper
from unroll.models.language_model import LanguageModel

SYMBOLS, HIDDEN = 11, 9
MODULES = {
    "rnn_tanh": nn.RNN,
    "rnn_relu": lambda *sizes, **options: nn.RNN(*sizes, nonlinearity="relu", **options),
    "gru": nn.GRU,
    "lstm": nn.LSTM,
}


def in_numpy(model: LanguageModel) -> NumpyStepper:
    return NumpyStepper(model.encoder.cell, Weights(model).arrays)


STEPPERS = [in_numpy, TorchStepper]
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
    """Read the first column as prompts and step through the others: (rows, time, vocabulary)."""
    state, logits = stepper.read(ids[:, :1].tolist())
    found = [logits.copy()]
    for column in ids[:, 1:].T.numpy():
        state, logits = stepper.step(column, state)
        found.append(logits.copy())
    assert all(logits.dtype == np.float32 for logits in found)
    return np.stack(found, axis=1)


@pytest.mark.parametrize("make", STEPPERS)
@pytest.mark.parametrize("rows", [1, 5])
@pytest.mark.parametrize("inputs", INPUTS)
@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("cell", CELLS)
def test_a_step_is_torchs(
    cell: str, num_layers: int, inputs: str, rows: int, make: Callable[[LanguageModel], Stepper]
) -> None:
    model = make_model(cell, num_layers, inputs)
    ids = torch.randint(SYMBOLS, (rows, 12))
    expected = expected_logits(model, ids)
    np.testing.assert_allclose(stepped(make(model), ids), expected, rtol=0, atol=1e-5 * max(1, abs(expected).max()))


@pytest.mark.parametrize("make", STEPPERS)
def test_three_layers_and_a_model_in_float64(make: Callable[[LanguageModel], Stepper]) -> None:
    model = make_model("gru", 3).double()
    ids = torch.randint(SYMBOLS, (2, 12))
    np.testing.assert_allclose(stepped(make(model), ids), expected_logits(model, ids), rtol=0, atol=1e-5)


@pytest.mark.parametrize("make", STEPPERS)
def test_dropout_is_left_out_and_the_model_stays_in_training(make: Callable[[LanguageModel], Stepper]) -> None:
    encoder = RecurrentEncoder("lstm", 7, HIDDEN, 2, dropout=0.5)
    model = LanguageModel(encoder, vocabulary_size=SYMBOLS, input_dropout=0.5, output_dropout=0.5).train()
    model.output_dropout.eval()
    ids = torch.randint(SYMBOLS, (3, 6))
    np.testing.assert_allclose(stepped(make(model), ids), expected_logits(model, ids), rtol=0, atol=1e-5)
    assert model.training and encoder.training and not model.output_dropout.training


def test_numpys_weights_are_a_copy() -> None:
    model = make_model("lstm")
    ids = torch.randint(SYMBOLS, (3, 6))
    expected, stepper = expected_logits(model, ids), in_numpy(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(7.0)
    np.testing.assert_allclose(stepped(stepper, ids), expected, rtol=0, atol=1e-5)


def test_float32_does_not_drift() -> None:
    model = make_model("lstm", hidden=64)
    ids = torch.randint(SYMBOLS, (3, 2000))
    error = abs(stepped(in_numpy(model), ids) - expected_logits(model, ids))
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
            _, logits = in_numpy(model).read(rows.tolist())
            assert np.isfinite(logits).all() == (cell != "rnn_relu")


@pytest.mark.parametrize("make", STEPPERS)
@pytest.mark.parametrize("cell", CELLS)
def test_prompts_are_read_each_on_its_own(cell: str, make: Callable[[LanguageModel], Stepper]) -> None:
    model, prompts = make_model(cell, 2), [[3, 1, 4, 1, 5], [9], [2, 6, 5], [9], []]
    stepper = make(model)
    state, logits = stepper.read(prompts)
    read = logits.copy()
    _, following = stepper.step(np.full(5, 8), state)
    for row, prompt in enumerate(prompts):
        expected = expected_logits(model, torch.tensor([[*prompt, 8]]))[0]
        np.testing.assert_allclose(following[row], expected[-1], rtol=0, atol=1e-5)
        if prompt:
            np.testing.assert_allclose(read[row], expected[-2], rtol=0, atol=1e-5)


class Averages(nn.Module):
    """An encoder of one's own: two moving averages of its input, and their product."""

    input_size, hidden_size, output_size = 7, HIDDEN, HIDDEN
    bidirectional, num_directions, state_parts = False, 1, ("fast", "slow")

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(7, HIDDEN)

    def zero_state(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x.new_zeros(1, len(x), HIDDEN), x.new_zeros(1, len(x), HIDDEN)

    def forward(self, x: Tensor, lengths: Tensor | None = None, state: tuple[Tensor, Tensor] | None = None) -> tuple:
        assert not self.training and lengths is None
        (fast,), (slow,) = self.zero_state(x) if state is None else state
        outputs = []
        for new in self.project(x).unbind(1):
            fast, slow = 0.5 * fast + 0.5 * new, 0.9 * slow + 0.1 * new
            outputs.append(fast * slow)
        return torch.stack(outputs, dim=1), (fast[None], slow[None])


def test_any_encoder_steps_by_its_forward() -> None:
    model = LanguageModel(Averages(), vocabulary_size=SYMBOLS)
    nn.init.normal_(model.output_weight)
    ids, seen = torch.randint(SYMBOLS, (4, 9)), []
    model.encoder.register_forward_hook(lambda module, inputs, output: seen.append(output))
    stepper = make_stepper(model)
    assert isinstance(stepper, TorchStepper)
    found = stepped(stepper, ids)
    assert len(seen) == len({*ids[:, 0].tolist()}) + 8  # each prompt once, then all rows at once
    with torch.no_grad():
        expected, _ = model.eval().double()(ids)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_a_subclass_may_compute_something_else() -> None:
    class Negated(RecurrentEncoder):
        def forward(self, *arguments: object, **options: object) -> tuple:
            output, state = super().forward(*arguments, **options)
            return -output, state

    assert isinstance(make_stepper(make_model("lstm")), NumpyStepper)
    model = LanguageModel(Negated("lstm", 7, HIDDEN), vocabulary_size=SYMBOLS)
    ids = torch.randint(SYMBOLS, (2, 5))
    with torch.no_grad():
        expected, _ = model(ids)
    np.testing.assert_allclose(stepped(make_stepper(model), ids), expected, rtol=0, atol=1e-5)
