"""The language model's parts against torch.nn's, and the combinations that make no sense."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from unroll.encoders import RecurrentEncoder
from unroll.models.language_model import LanguageModel


def test_it_is_embedding_lstm_and_linear_layer() -> None:
    model = LanguageModel(RecurrentEncoder("lstm", 4, 6, num_layers=2), vocabulary_size=9).double()
    embedding, lstm, out = nn.Embedding(9, 4), nn.LSTM(4, 6, num_layers=2, batch_first=True), nn.Linear(6, 9)
    weights = model.state_dict()
    lstm.double().load_state_dict({k.removeprefix("encoder."): v for k, v in weights.items() if "encoder" in k})
    embedding.double().load_state_dict({"weight": weights["embedding.weight"]})
    out.double().load_state_dict({"weight": weights["weight"], "bias": weights["bias"]})
    ids = torch.randint(9, (3, 7))
    state = (torch.randn(2, 3, 6).double(), torch.randn(2, 3, 6).double())
    expected, after = lstm(embedding(ids), state)
    logits, found = model(ids, state)
    torch.testing.assert_close(logits, out(expected), rtol=0, atol=1e-12)
    torch.testing.assert_close(found, after, rtol=0, atol=1e-12)


def test_one_hot_input_is_a_column_of_the_input_weights() -> None:
    model = LanguageModel(RecurrentEncoder("rnn_tanh", 5, 3), vocabulary_size=5, one_hot=True)
    logits, h = model(torch.tensor([[2]]))
    encoder = model.encoder
    expected = torch.tanh(encoder.weight_ih_l0[:, 2] + encoder.bias_ih_l0 + encoder.bias_hh_l0)
    torch.testing.assert_close(h[0, 0], expected)
    torch.testing.assert_close(logits[0, 0], F.linear(expected, model.output_weight, model.bias))
    assert "embedding.weight" not in model.state_dict()


def test_tied_weights_are_one_parameter_and_get_both_gradients() -> None:
    model = LanguageModel(RecurrentEncoder("gru", 4, 4), vocabulary_size=6, tie_weights=True)
    assert [name for name in model.state_dict() if "encoder" not in name] == ["bias", "embedding.weight"]
    logits, _ = model(torch.tensor([[1, 1]]))
    F.cross_entropy(logits[0], torch.tensor([2, 3])).backward()
    assert (model.embedding.weight.grad.abs().sum(1) > 0).all()  # the output's: all symbols


@pytest.mark.parametrize("carry", [0, 1, 4, 7, None])
@pytest.mark.parametrize("last", [1, 3, 7, None])
def test_carry_and_last_choose_from_one_reading(carry: int | None, last: int | None) -> None:
    model = LanguageModel(RecurrentEncoder("lstm", 4, 6), vocabulary_size=9).double()
    ids = torch.randint(9, (2, 7))
    logits, (h, c) = model(ids, carry=carry, last=last)
    whole, _ = model(ids)
    torch.testing.assert_close(logits, whole[:, 7 - (7 if last is None else last) :], rtol=0, atol=1e-12)
    steps = 7 if carry is None else carry
    expected = (torch.zeros(1, 2, 6).double(),) * 2 if steps == 0 else model(ids[:, :steps])[1]
    torch.testing.assert_close((h, c), tuple(expected), rtol=0, atol=1e-12)


def test_dropout_works_in_training_only() -> None:
    model = LanguageModel(RecurrentEncoder("lstm", 4, 6), vocabulary_size=9, input_dropout=0.5, output_dropout=0.5)
    ids = torch.randint(9, (2, 7))
    assert not torch.equal(model(ids)[0], model(ids)[0])
    model.eval()
    assert torch.equal(model(ids)[0], model(ids)[0])


def test_a_window_has_one_mask_wherever_it_is_cut() -> None:
    regularised = {"dropout": 0.5, "locked_dropout": True, "weight_dropout": 0.5}
    dropouts = {"embedding_dropout": 0.3, "input_dropout": 0.3, "output_dropout": 0.3}
    encoder = RecurrentEncoder("lstm", 4, 6, num_layers=3, **regularised)
    model = LanguageModel(encoder, vocabulary_size=9, **dropouts).double()
    ids, found = torch.randint(9, (2, 7)), []
    for carry in (None, 0, 1, 4, 7):
        torch.manual_seed(5)
        found.append(model(ids, carry=carry)[0])
    for logits in found[1:]:
        torch.testing.assert_close(logits, found[0], rtol=0, atol=1e-12)
    assert not torch.allclose(model(ids)[0], found[0])


@pytest.mark.parametrize("tied", [False, True])
def test_embedding_dropout_hides_symbols_from_the_input_alone(tied: bool) -> None:
    model = LanguageModel(RecurrentEncoder("gru", 6, 6), vocabulary_size=9, tie_weights=tied, embedding_dropout=0.5)
    read: list[torch.Tensor] = []
    model.encoder.register_forward_pre_hook(lambda module, inputs: read.append(inputs[0]))
    ids = torch.randint(9, (4, 30))
    logits, _ = model(ids)
    assert model.embedding is not None
    hidden = {symbol: bool((read[0][ids == symbol] == 0).all()) for symbol in ids.unique().tolist()}
    assert 0 < sum(hidden.values()) < len(hidden)
    scale = torch.tensor([0.0 if hidden.get(symbol) else 2.0 for symbol in range(9)])
    x = (model.embedding.weight * scale[:, None])[ids]
    torch.testing.assert_close(read[0], x)
    expected = F.linear(model.encoder(x)[0], model.output_weight, model.bias)
    torch.testing.assert_close(logits, expected)


@pytest.mark.parametrize(
    ("encoder", "options", "message"),
    [
        (RecurrentEncoder("gru", 4, 4, bidirectional=True), {}, "one-directional"),
        (RecurrentEncoder("gru", 4, 4), {"one_hot": True}, "one-hot"),
        (RecurrentEncoder("gru", 4, 5), {"tie_weights": True}, "tied weights"),
        (RecurrentEncoder("gru", 6, 6), {"tie_weights": True, "one_hot": True}, "tied weights"),
    ],
)
def test_combinations_that_make_no_sense_are_refused(
    encoder: RecurrentEncoder, options: dict[str, bool], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        LanguageModel(encoder, vocabulary_size=6, **options)
