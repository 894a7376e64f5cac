"""The adaptive softmax against the chain rule of clusters and their symbols, in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import functional_call

from unroll.encoders import RecurrentEncoder
from unroll.inference.torch_stepper import TorchStepper, make_stepper
from unroll.models.language_model import LanguageModel

SYMBOLS, CUTOFFS, HIDDEN = 13, [4, 9], 16


def make_model(**options: Any) -> LanguageModel:
    model = LanguageModel(RecurrentEncoder("gru", 5, HIDDEN), vocabulary_size=SYMBOLS, cutoffs=CUTOFFS, **options)
    for parameter in model.parameters():
        torch.nn.init.uniform_(parameter, -0.5, 0.5)
    return model.double()


@torch.no_grad()
def chain_rule(model: LanguageModel, ids: Tensor) -> Tensor:
    """(batch, time, vocabulary): log P(symbol), or log P(cluster) + log P(symbol | cluster)."""
    assert model.embedding is not None
    weights = model.state_dict()
    output, _ = model.encoder(model.embedding(ids))
    head = output @ weights["adaptive.head.weight"].T + weights["adaptive.head.bias"]
    head = head - head.exp().sum(-1, keepdim=True).log()
    found = [head[..., :4]]
    for number, (begin, end, width) in enumerate([(4, 9, 4), (9, 13, 1)]):
        narrow, wide = (weights[f"adaptive.tail.{number}.{part}.weight"] for part in (0, 1))
        assert narrow.shape == (width, HIDDEN) and wide.shape == (end - begin, width)
        inside = output @ narrow.T @ wide.T
        found.append(head[..., 4 + number, None] + inside - inside.exp().sum(-1, keepdim=True).log())
    return torch.cat(found, dim=-1)


def test_logits_are_log_probabilities_by_the_chain_rule() -> None:
    model, ids = make_model().eval(), torch.randint(SYMBOLS, (3, 7))
    logits, _ = model(ids, last=6)
    torch.testing.assert_close(logits, chain_rule(model, ids)[:, 1:], rtol=0, atol=1e-12)
    torch.testing.assert_close(logits.exp().sum(-1), torch.ones(3, 6).double(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("symbols", [range(SYMBOLS), range(4), range(4, 9), [12]])
def test_losses_are_those_of_the_chain_rule(symbols: Any) -> None:
    model, ids = make_model(), torch.randint(SYMBOLS, (3, 7))
    targets = torch.tensor(symbols)[torch.randint(len(symbols), (3, 7))]
    losses, _ = model(ids, targets=targets)
    expected = -chain_rule(model, ids).gather(2, targets[..., None])[..., 0]
    torch.testing.assert_close(losses.detach(), expected, rtol=0, atol=1e-12)
    x, loss = model.look_back(torch.cat([ids, targets[:, -1:]], dim=1))
    torch.testing.assert_close(loss(model.encoder(x)[0][:, -1]).detach(), expected[:, -1], rtol=0, atol=1e-12)


def test_the_gradient_is_that_of_finite_differences() -> None:
    model, ids = make_model(), torch.randint(SYMBOLS, (2, 5))
    targets = torch.tensor([[0, 5, 12, 3, 9], [4, 8, 1, 10, 2]])
    names = [name for name, _ in model.named_parameters()]

    def losses(*values: Tensor) -> Tensor:
        weights = dict(zip(names, values, strict=True))
        return torch.as_tensor(functional_call(model, weights, (ids,), {"targets": targets})[0])

    assert torch.autograd.gradcheck(losses, tuple(model.parameters()), fast_mode=True)


def test_a_cluster_that_does_not_occur_has_no_gradient() -> None:
    model = make_model()
    losses, _ = model(torch.randint(SYMBOLS, (2, 3)), targets=torch.tensor([[0, 10, 3], [1, 2, 12]]))
    losses.sum().backward()
    without = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert without == ["adaptive.tail.0.0.weight", "adaptive.tail.0.1.weight"]


def test_mixed_precision_computes_the_losses_in_float32() -> None:
    model, ids = make_model().float(), torch.randint(SYMBOLS, (3, 7))
    targets = torch.randint(SYMBOLS, (3, 7))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses, _ = model(ids, targets=targets)
    expected = -chain_rule(model.double(), ids).gather(2, targets[..., None])[..., 0]
    assert losses.dtype == torch.float32
    torch.testing.assert_close(losses.detach().double(), expected, rtol=0, atol=0.05)  # the encoder's 8 bits


def test_a_full_softmax_has_losses_too() -> None:
    model = LanguageModel(RecurrentEncoder("gru", 5, 6), vocabulary_size=9).double()
    ids, targets = torch.randint(9, (2, 4)), torch.randint(9, (2, 4))
    (losses, _), (logits, _) = model(ids, targets=targets), model(ids)
    expected = logits.exp().sum(-1).log() - logits.gather(2, targets[..., None])[..., 0]
    torch.testing.assert_close(losses, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("one_hot", [False, True])
def test_it_steps_by_the_model_itself(one_hot: bool) -> None:
    encoder = RecurrentEncoder("gru", SYMBOLS if one_hot else 5, HIDDEN)
    model = LanguageModel(encoder, vocabulary_size=SYMBOLS, cutoffs=CUTOFFS, one_hot=one_hot)
    if one_hot:  # as an embedding, for the oracle alone
        model.embedding = torch.nn.Embedding.from_pretrained(torch.eye(SYMBOLS))
    expected = chain_rule(model, ids := torch.randint(SYMBOLS, (3, 7)))
    if one_hot:
        model.embedding = None
    stepper = make_stepper(model)
    assert isinstance(stepper, TorchStepper)
    state, logits = stepper.read(ids[:, :6].tolist())
    torch.testing.assert_close(torch.from_numpy(logits), expected[:, 5], rtol=0, atol=1e-5)
    _, logits = stepper.step(ids[:, 6].numpy(), state)
    torch.testing.assert_close(torch.from_numpy(logits), expected[:, 6], rtol=0, atol=1e-5)


def test_tied_weights_are_refused() -> None:
    with pytest.raises(ValueError, match="tied weights need the full softmax"):
        LanguageModel(RecurrentEncoder("gru", 16, 16), vocabulary_size=9, tie_weights=True, cutoffs=[4])
