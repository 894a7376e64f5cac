"""Adversarial and virtual adversarial losses against their equations, document by document, in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unroll.batching.documents import Batch
from unroll.encoders import build_encoder
from unroll.models.classifier import TextClassifier
from unroll.tasks import adversarial
from unroll.tasks.adversarial import Reading, adversarial_direction, adversarial_loss, virtual_direction, virtual_loss

Array = npt.NDArray[np.float64]
LENGTHS = torch.tensor([4, 2, 1])
STEP = 1e-5  # of finite differences


def batch_of(lengths: Tensor = LENGTHS, words: int = 9, classes: int = 3) -> Batch:
    ids = torch.randint(2, words, (len(lengths), int(lengths.max())))
    ids = ids.masked_fill(torch.arange(ids.size(1)) >= lengths[:, None], 0)
    return Batch(ids, lengths, torch.arange(len(lengths)) % classes)


def model_of(dropout: float = 0.0, cell: str = "lstm", layers: int = 1, **options: Any) -> TextClassifier:
    encoder = build_encoder(4, cell=cell, hidden_size=5, num_layers=layers, dropout=dropout if layers > 1 else 0.0)
    model = TextClassifier(encoder, vocabulary_size=9, num_classes=3, dropout=dropout, **options)
    nn.init.normal_(model.embedding.weight[2:].data)
    return model.train()


# The directions, against finite differences of a small net that is written in NumPy.


class Small:
    """softmax(V tanh(W mean(x))), for PyTorch and for NumPy."""

    def __init__(self) -> None:
        self.w, self.v = torch.randn(4, 2, dtype=torch.float64), torch.randn(3, 4, dtype=torch.float64)

    def classify(self, x: Tensor) -> Tensor:
        inside = (torch.arange(x.size(1)) < LENGTHS[:, None]).to(x.dtype)[..., None]
        mean = (x * inside).sum(1) / LENGTHS[:, None]
        return torch.tanh(mean @ self.w.T.to(x.dtype)) @ self.v.T.to(x.dtype)

    def probabilities(self, document: Array) -> Array:
        """Of one document (time, features) without padding."""
        logits = self.v.numpy() @ np.tanh(self.w.numpy() @ document.mean(0))
        powers: Array = np.exp(logits - logits.max())
        return powers / powers.sum()


def gradient(f: Callable[[Array], float], x: Array) -> Array:
    """By central differences."""
    found = np.zeros_like(x)
    for place in np.ndindex(x.shape):
        change = np.zeros_like(x)
        change[place] = STEP
        found[place] = (f(x + change) - f(x - change)) / (2 * STEP)
    return found


def assert_directions(found: Tensor, expected: list[Array]) -> None:
    for row, length in enumerate(LENGTHS.tolist()):
        direction = expected[row] / np.linalg.norm(expected[row])
        np.testing.assert_allclose(found[row, :length].numpy(), direction, atol=1e-6)
        assert not found[row, length:].any(), "padding"


def test_the_adversarial_direction_is_that_of_the_gradient() -> None:
    net, x, labels = Small(), torch.randn(3, 4, 2, dtype=torch.float64), torch.tensor([0, 2, 1])
    found = adversarial_direction(net.classify, x, LENGTHS, labels)
    documents = [x[row, :length].numpy() for row, length in enumerate(LENGTHS.tolist())]
    expected = [
        gradient(lambda document, label=label: -np.log(net.probabilities(document)[label]), document)  # type: ignore[misc]
        for document, label in zip(documents, labels.tolist(), strict=True)
    ]
    assert_directions(found, expected)
    assert not found.requires_grad


def test_the_virtual_direction_is_that_of_the_divergence_a_step_away(monkeypatch: pytest.MonkeyPatch) -> None:
    net, x, xi = Small(), torch.randn(3, 4, 2, dtype=torch.float64), 0.3
    noise = torch.randn_like(x)
    monkeypatch.setattr(torch, "randn_like", lambda like: noise)
    inside = [x[row, :length] for row, length in enumerate(LENGTHS.tolist())]
    found = virtual_direction(net.classify, x, LENGTHS, xi * torch.cat(inside).square().mean().sqrt())
    documents = [x[row, :length].numpy() for row, length in enumerate(LENGTHS.tolist())]
    unit = np.sqrt(np.mean(np.concatenate(documents) ** 2))
    expected = []
    for row, document in enumerate(documents):
        clean = net.probabilities(document)
        step = noise[row, : len(document)].numpy()
        step = xi * unit * step / np.linalg.norm(step)

        def divergence(step: Array, document: Array = document, clean: Array = clean) -> float:
            return float(np.sum(clean * np.log(clean / net.probabilities(document + step))))

        expected.append(gradient(divergence, step))
    assert_directions(found, expected)


def test_a_tiny_gradient_has_a_direction_and_a_zero_one_has_none() -> None:
    x = torch.zeros(3, 2, 2)
    x[0, 0] = torch.tensor([3e-30, 4e-30])  # squares of these are zero in float32
    x[1, 1] = 5.0  # in the padding
    found = adversarial.unit(x, torch.tensor([2, 1, 2]))
    torch.testing.assert_close(found[0], torch.tensor([[0.6, 0.8], [0.0, 0.0]]))
    assert not found[1:].any()


# The losses of a recurrent model, against torch.nn.LSTM over one document at a time.


class Alone:
    """The classifier's equations for single documents, without padding."""

    def __init__(self, model: TextClassifier, batch: Batch) -> None:
        self.lstm = nn.LSTM(4, 5, batch_first=True, dtype=torch.float64)
        self.weights, self.batch = dict(model.named_parameters()), batch

    def documents(self) -> list[Tensor]:
        pairs = zip(self.batch.ids, self.batch.lengths.tolist(), strict=True)
        return [self.weights["embedding.weight"][ids[:length]] for ids, length in pairs]

    def unit(self) -> Tensor:
        return torch.cat(self.documents()).square().mean().sqrt()

    def log_probabilities(self, document: Tensor) -> Tensor:
        names = {name.removeprefix("encoder."): w for name, w in self.weights.items() if name.startswith("encoder.")}
        output = torch.func.functional_call(self.lstm, names, (document[None],))[0][0]
        pooled = torch.cat([output.max(0).values, output.mean(0)])
        logits = self.weights["head.0.weight"] @ pooled + self.weights["head.0.bias"]
        return logits - logits.exp().sum().log()

    def adversarial(self, epsilon: float, weights: Tensor) -> Tensor:
        losses = []
        for document, label in zip(self.documents(), self.batch.labels.tolist(), strict=True):
            leaf = document.detach().requires_grad_()
            (g,) = torch.autograd.grad(-self.log_probabilities(leaf)[label], leaf)
            changed = document + epsilon * self.unit() * g / g.square().sum().sqrt()
            losses.append(-self.log_probabilities(changed)[label])
        by_document = weights[self.batch.labels]
        return (torch.stack(losses) * by_document).sum() / by_document.sum()

    def virtual(self, epsilon: float, xi: float, noise: Tensor) -> Tensor:
        losses = []
        for document, random in zip(self.documents(), noise, strict=True):
            clean = self.log_probabilities(document.detach()).detach()
            d = random[: len(document)]
            leaf = (xi * self.unit() * d / d.square().sum().sqrt()).detach().requires_grad_()
            change = (clean.exp() * (clean - self.log_probabilities(document.detach() + leaf))).sum()
            (g,) = torch.autograd.grad(change, leaf)
            changed = document + epsilon * self.unit() * g / g.square().sum().sqrt()
            losses.append((clean.exp() * (clean - self.log_probabilities(changed))).sum())
        return torch.stack(losses).mean()

    def entropy(self) -> Tensor:
        each = [self.log_probabilities(document) for document in self.documents()]
        return torch.stack([-(log.exp() * log).sum() for log in each]).mean()


def assert_same_with_gradients(model: TextClassifier, found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    parameters = list(model.parameters())
    ours, theirs = (torch.autograd.grad(loss, parameters, retain_graph=True) for loss in (found, expected))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("weights", [None, torch.tensor([1.0, 3.0, 0.5], dtype=torch.float64)])
def test_the_adversarial_loss_and_its_gradient(weights: Tensor | None) -> None:
    model, batch = model_of().double(), batch_of()
    found, dropped = adversarial_loss(Reading(model, batch), batch.labels, 0.7, weights)
    by_class = torch.ones(3, dtype=torch.float64) if weights is None else weights
    assert_same_with_gradients(model, found, Alone(model, batch).adversarial(0.7, by_class))
    assert dropped == 0


def test_the_virtual_loss_and_its_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    model, batches = model_of().double(), [batch_of(), batch_of(torch.tensor([1, 3]))]
    noises = [torch.randn(len(b.lengths), int(b.lengths.max()), 4, dtype=torch.float64) for b in batches]
    left = list(noises)
    monkeypatch.setattr(torch, "randn_like", lambda like: left.pop(0))
    found, dropped = virtual_loss([Reading(model, batch) for batch in batches], 0.7, 0.2)
    labelled, unlabelled = (Alone(model, b).virtual(0.7, 0.2, n) for b, n in zip(batches, noises, strict=True))
    assert_same_with_gradients(model, found, (3 * labelled + 2 * unlabelled) / 5)
    assert found > 1e-4
    assert dropped == 0


def test_the_entropy_and_its_gradient() -> None:
    model, batch = model_of().double(), batch_of()
    found = adversarial.entropy(Reading(model, batch).logits).mean()
    assert_same_with_gradients(model, found, Alone(model, batch).entropy())


def test_the_change_grows_with_the_embeddings() -> None:
    """A net with larger embeddings and smaller input weights is the same net, and is disturbed as much."""
    model, batch = model_of().double(), batch_of()
    losses = []
    for factor in (1.0, 100.0):
        with torch.no_grad():
            model.embedding.weight *= factor
            model.encoder.weight_ih_l0 /= factor  # type: ignore[operator]
        torch.manual_seed(1)
        reading = Reading(model, batch)
        losses += [adversarial_loss(reading, batch.labels, 0.7)[0], virtual_loss([reading], 0.7, 0.2)[0]]
    torch.testing.assert_close(losses[:2], losses[2:])


def test_documents_without_a_gradient_are_left_out_of_the_mean() -> None:
    """A label that is certain, to float32's last digit, has a gradient of zero."""
    model, batch = model_of(), batch_of(classes=2)
    with torch.no_grad():
        model.head[0].bias += torch.tensor([0.0, 1000.0, 0.0])  # class 1 is certain
    others = batch.labels != 1
    reading = Reading(model, batch)
    found, dropped = adversarial_loss(reading, batch.labels, 1e-9)
    torch.testing.assert_close(dropped, torch.tensor(1 / 3))
    torch.testing.assert_close(found, F.cross_entropy(reading.logits[others], batch.labels[others]))
    nothing, dropped = virtual_loss([reading], 0.7, 0.1)
    assert (nothing.item(), dropped.item()) == (0, 1)
    nothing.backward()
    assert all(bool(p.grad.isfinite().all()) for p in model.parameters() if p.grad is not None)


# Dropout.


@pytest.mark.parametrize("options", [{"layers": 2}, {"word_dropout": 0.5}, {"window": 2, "cell": "gru", "layers": 2}])
def test_every_pass_has_the_same_masks(options: dict[str, Any]) -> None:
    """Between passes under different masks, predictions would diverge without any change of the embeddings."""
    model, batch = model_of(dropout=0.5, **options).double(), batch_of(torch.tensor([6, 5, 3, 6]))
    first, second = Reading(model, batch), Reading(model, batch)
    assert torch.equal(first.classify(first.x), first.logits)
    assert not torch.equal(second.logits, first.logits), "each step has masks of its own"
    for reading in (first, second):
        assert virtual_loss([reading], 1e-9, 0.1)[0].item() < 1e-15
        clean = F.cross_entropy(reading.logits, batch.labels)
        changed, dropped = adversarial_loss(reading, batch.labels, 1e-9)
        assert dropped == 0
        assert changed.item() == pytest.approx(clean.item(), abs=1e-7)
        assert changed.item() > clean.item(), "it is a change for the worse"


def test_passes_do_not_move_the_generator() -> None:
    """Or the masks of the next step would depend on how often this one was read."""
    model, batch = model_of(dropout=0.5), batch_of()
    reading = Reading(model, batch)
    before = torch.get_rng_state()
    reading.classify(reading.x)
    adversarial_direction(reading.classify, reading.x, LENGTHS, batch.labels)
    assert torch.equal(torch.get_rng_state(), before)


# Precision.


def test_directions_are_computed_in_float32_under_mixed_precision() -> None:
    model, batch = model_of(dropout=0.3), batch_of(torch.tensor([6, 5, 3, 6]))

    def directions(enabled: bool) -> list[Tensor]:
        torch.manual_seed(1)
        with torch.autocast("cpu", torch.bfloat16, enabled):
            reading = Reading(model, batch)
            assert reading.logits.dtype == torch.float32
            classify, x, lengths = reading.classify, reading.x, reading.lengths
            return [
                adversarial_direction(classify, x, lengths, batch.labels),
                virtual_direction(classify, x, lengths, 0.1),
            ]

    for mixed, single in zip(directions(True), directions(False), strict=True):
        assert mixed.dtype == torch.float32
        assert torch.equal(mixed, single)
