"""The models that the benchmarks compare have the same loss and gradients with the same weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.plain_classifier import PaddedClassifier, TextbookClassifier
from benchmarks.plain_language_model import TextbookLanguageModel
from benchmarks.training import _lstm
from unroll.compose import compose
from unroll.config import ClassificationConfig, LanguageModelingConfig
from unroll.encoders.parallel import Padding, over_rows
from unroll.models.classifier import TextClassifier, build_classifier
from unroll.models.language_model import LanguageModel, build_language_model

TOLERANCE = 1e-4
WORDS, CHARACTERS = 50, 30

LENGTHS = torch.tensor([23, 4, 17, 1, 9, 23, 12, 8])
IDS = torch.randint(2, WORDS, (8, 23), generator=torch.Generator().manual_seed(1))
IDS = IDS.masked_fill(torch.arange(23) >= LENGTHS[:, None], 0)
LABELS = torch.tensor([0, 1, 1, 0, 1, 0, 0, 1])


def classifiers() -> tuple[TextbookClassifier, PaddedClassifier, TextClassifier]:
    """All three have the same weights."""
    config = compose(["experiment=textbook_imdb"])
    assert isinstance(config, ClassificationConfig)
    textbook, padded = TextbookClassifier(WORDS, 2), PaddedClassifier(WORDS, 2)
    ours = build_classifier(config, WORDS, 2)
    padded.load_state_dict(textbook.state_dict())
    ours.load_state_dict(
        {
            "embedding.weight": textbook.embedding.weight,
            **{f"encoder.{name}": weight for name, weight in textbook.lstm.named_parameters()},
            **{f"head.0.{name}": weight for name, weight in textbook.hidden.named_parameters()},
            **{f"head.2.{name}": weight for name, weight in textbook.out.named_parameters()},
        }
    )
    return textbook, padded, ours


def language_models() -> tuple[TextbookLanguageModel, LanguageModel]:
    """Both have the same weights."""
    config = compose(["experiment=textbook_charlm", "encoder.hidden_size=16", "model.embedding_size=8"])
    assert isinstance(config, LanguageModelingConfig)
    textbook, ours = TextbookLanguageModel(CHARACTERS, 8, 16), build_language_model(config, CHARACTERS)
    ours.load_state_dict(
        {
            "embedding.weight": textbook.embedding.weight,
            **{f"encoder.{name}": weight for name, weight in textbook.lstm.named_parameters()},
            "weight": textbook.out.weight,
            "bias": textbook.out.bias,
        }
    )
    return textbook, ours


def gradients(model: nn.Module, loss: Tensor) -> dict[str, Tensor]:
    """Gradients of the embedding and the recurrent weights, by the last part of their names."""
    loss.backward()
    return {
        name.rpartition(".")[2] if "_l0" in name else name: parameter.grad
        for name, parameter in model.named_parameters()
        if ("_l0" in name or name.startswith("embedding")) and parameter.grad is not None
    }


def test_the_sentiment_models_have_one_loss_and_one_gradient() -> None:
    losses, found = [], []
    for model in classifiers():
        loss = F.cross_entropy(model(IDS, LENGTHS), LABELS)
        losses.append(loss.item())
        found.append(gradients(model, loss))
    assert max(losses) - min(losses) < TOLERANCE
    assert len(found[0]) == 5
    for other in found[1:]:
        for name, gradient in found[0].items():
            torch.testing.assert_close(other[name], gradient, atol=TOLERANCE, rtol=0)


def test_the_language_models_have_one_loss_and_one_gradient() -> None:
    textbook, ours = language_models()
    text = torch.randint(CHARACTERS, (5, 13), generator=torch.Generator().manual_seed(2))
    (h, c), by_step = textbook.zeros(5), torch.zeros(())
    for place in range(12):
        logits, h, c = textbook(text[:, place], h, c)
        by_step = by_step + F.cross_entropy(logits, text[:, place + 1])
    by_step = by_step / 12
    first = gradients(textbook, by_step)
    textbook.zero_grad()
    by_window = F.cross_entropy(
        textbook.window(text[:, :-1], textbook.zeros(5))[0].flatten(0, 1), text[:, 1:].flatten()
    )
    second = gradients(textbook, by_window)
    by_ours = F.cross_entropy(ours(text[:, :-1])[0].flatten(0, 1), text[:, 1:].flatten())
    third = gradients(ours, by_ours)
    assert abs(by_step.item() - by_window.item()) < TOLERANCE
    assert abs(by_step.item() - by_ours.item()) < TOLERANCE
    assert len(first) == 5
    for name, gradient in first.items():
        torch.testing.assert_close(second[name], gradient, atol=TOLERANCE, rtol=0)
        torch.testing.assert_close(third[name], gradient, atol=TOLERANCE, rtol=0)


def test_the_kernels_alone_are_the_lstm() -> None:
    lstm, x = nn.LSTM(6, 10), torch.randn(7, 9, 6)
    zeros = torch.zeros(1, 9, 10)
    expected, (h, c) = lstm(x)
    none = Padding(torch.zeros(7, 9, dtype=torch.bool), begins=7)
    output, h_n, c_n = over_rows(_lstm, x, (zeros, zeros), tuple(lstm.parameters()), none)
    torch.testing.assert_close(output, expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(h_n, h, atol=1e-6, rtol=0)
    torch.testing.assert_close(c_n, c, atol=1e-6, rtol=0)
