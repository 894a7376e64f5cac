"""The language models of documents: against plain loops in float64."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from unroll.encoders import RecurrentEncoder
from unroll.models.pretraining import DocumentLanguageModel, draw, sampling_chances

WORDS = 9
DOCUMENTS = [[4, 2, 7, 1, 5], [3], [8, 2], [6, 6, 6, 2]]


def model_of(bidirectional: bool) -> DocumentLanguageModel:
    torch.manual_seed(0)
    encoder = RecurrentEncoder("lstm", 5, 3, bidirectional=bidirectional)
    model = DocumentLanguageModel(encoder, vocabulary_size=WORDS).double().eval()
    nn.init.normal_(model.bias)
    return model


def batch() -> tuple[Tensor, Tensor]:
    lengths = torch.tensor([len(document) for document in DOCUMENTS])
    ids = torch.zeros(len(DOCUMENTS), int(lengths.max()), dtype=torch.long)
    for row, document in enumerate(DOCUMENTS):
        ids[row, : len(document)] = torch.tensor(document)
    return ids, lengths


@pytest.mark.parametrize("bidirectional", [True, False])
def test_each_direction_predicts_the_word_that_it_reads_next(bidirectional: bool) -> None:
    """One document and one direction at a time, by torch.nn.LSTM, with the cross entropy written out."""
    model = model_of(bidirectional)
    expected = []
    for direction, suffix in enumerate(["", "_reverse"][: 1 + bidirectional]):
        lstm = nn.LSTM(5, 3, batch_first=True).double()
        weights = {name: getattr(model.encoder, f"{name}{suffix}") for name, _ in lstm.named_parameters()}
        lstm.load_state_dict(weights)
        for document in DOCUMENTS:
            read = document if direction == 0 else document[::-1]
            output = lstm(model.embedding.weight[torch.tensor(read)][None])[0][0]
            for step in range(len(read) - 1):
                vector = model.project[direction].weight @ output[step] + model.project[direction].bias  # type: ignore[operator, index]
                logits = model.embedding.weight @ vector + model.bias
                expected.append(float(logits.detach().exp().sum().log() - logits.detach()[read[step + 1]]))
    losses = model.losses(*model(*batch()))
    assert sorted(losses.tolist()) == pytest.approx(sorted(expected), rel=1e-10)
    assert len(expected) == (1 + bidirectional) * sum(len(document) - 1 for document in DOCUMENTS)


def test_frequent_words_are_in_every_sample_and_others_by_their_frequency() -> None:
    counts = [0, 10_000, 5_000, 40, 30, 20, 10, 5, 1]
    chances = sampling_chances(torch.tensor(counts), 4).tolist()
    assert chances[1:3] == [1, 1]
    powers = [max(count, 1) ** 0.75 for count in counts]
    rest = powers[0] + sum(powers[3:])
    others = [2 * power / rest for power in (powers[0], *powers[3:])]
    assert max(others) < 1
    assert [chances[0], *chances[3:]] == pytest.approx(others, rel=1e-12)
    assert sampling_chances(torch.tensor(counts), 20).tolist() == [1] * WORDS
    assert draw(sampling_chances(torch.tensor(counts), 20)).tolist() == list(range(WORDS))


def test_the_mean_denominator_over_all_samples_is_that_of_the_softmax(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two of the places where a sum of chances meets a point, all starts draw the same words."""
    model = model_of(True)
    vectors, targets = model(*batch())
    chances = sampling_chances(torch.tensor([0, 50, 9, 4, 7, 2, 1, 30, 3]), 3)
    logits = vectors @ model.embedding.weight.T + model.bias
    target = logits.gather(1, targets[:, None])[:, 0]
    mean, drawn = torch.zeros_like(target), torch.zeros(WORDS, dtype=torch.float64)
    places = [0.0, *sorted(float(end % 1) for end in chances.cumsum(0)[:-1]), 1.0]
    for one, other in pairwise(places):
        middle = torch.tensor((one + other) / 2, dtype=torch.float64)
        monkeypatch.setattr(torch, "rand", lambda *_, start=middle, **__: start)
        sampled = draw(chances)
        assert len(set(sampled.tolist())) == 3
        losses = model.sampled_losses(vectors, targets, sampled, chances)
        mean += (other - one) * (losses + target).exp()  # the loss is log denominator - target
        drawn[sampled] += other - one
    assert drawn.tolist() == pytest.approx(chances.tolist(), rel=1e-9)
    assert mean.tolist() == pytest.approx(logits.exp().sum(1).tolist(), rel=1e-10)


def test_the_gradient_of_sampled_losses_is_that_of_finite_differences() -> None:
    model = model_of(True)
    sampled, chances = torch.tensor([3, 2, 8]), torch.full((WORDS,), 0.4, dtype=torch.float64)

    def loss() -> Tensor:
        return model.sampled_losses(*model(*batch()), sampled, chances).mean()

    loss().backward()  # type: ignore[no-untyped-call]
    for name, weight in model.named_parameters():
        assert weight.grad is not None, name
        direction = torch.randn_like(weight)
        if name == "embedding.weight":
            direction[0] = 0  # <pad>
        values = []
        for step in (1e-5, -2e-5):
            weight.data += step * direction
            values.append(float(loss().detach()))
        weight.data += 1e-5 * direction
        assert (values[0] - values[1]) / 2e-5 == pytest.approx(float((weight.grad * direction).sum()), abs=1e-8)


def test_losses_do_not_depend_on_how_they_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of(True)
    whole = model.losses(*model(*batch()))
    monkeypatch.setattr("unroll.models.pretraining.SLICE", 4)
    assert torch.allclose(model.losses(*model(*batch())), whole, rtol=1e-12)
    assert math.isfinite(float(whole.detach().sum()))
