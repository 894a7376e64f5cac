"""Explanations against predictions for prefixes and finite differences; surprise against torch.nn."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.settings import from_dict
from unroll.diagnostics.explain import explain, gradient_times_input, judge_text, surprise
from unroll.errors import DataError, UserError
from unroll.inference.classify import LoadedClassifier
from unroll.inference.generate import LoadedLanguageModel
from unroll.models.classifier import build_classifier
from unroll.models.language_model import build_language_model
from unroll.text.codec import Codec
from unroll.text.vocabulary import Vocabulary

WORDS = ["<pad>", "<unk>", "a", "dull", "superb", "film", "."]


def classifier(bidirectional: bool = False, labels: tuple[str, ...] = ("bad", "good"), **data: Any) -> LoadedClassifier:
    values: dict[str, Any] = {
        "data": data,
        "encoder": {"hidden_size": 5, "bidirectional": bidirectional, "cell": "gru"},
        "model": {"embedding_size": 4, "pooling": ["last", "max", "mean"], "head_size": 6},
    }
    config: Any = from_dict(values)
    model = build_classifier(config, len(WORDS), len(labels)).double().eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    return LoadedClassifier(model, Codec("basic_english", Vocabulary(WORDS)), labels, config, {})


@pytest.fixture(autouse=True)
def _float64() -> Any:
    """Predictions are kept in the default type."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


TEXT = "A superb film . a dull superb mystery film"


@pytest.mark.parametrize("labels", [("bad", "good"), ("bad", "fair", "good")])
def test_the_probability_after_each_prefix_is_the_prediction_for_it(labels: tuple[str, ...]) -> None:
    model = classifier(labels=labels)
    found = judge_text(model, TEXT)
    tokens = TEXT.lower().split()
    assert found.tokens == tuple(tokens)
    assert found.prediction == model.predict([TEXT])[0]
    label = found.prediction.label
    prefixes = [" ".join(tokens[: end + 1]) for end in range(len(tokens))]
    expected = [prediction.probabilities[label] for prediction in model.predict(prefixes)]
    assert found.prefixes == pytest.approx(expected, abs=1e-9)
    assert found.empty == pytest.approx(model.predict([""])[0].probabilities[label])
    assert found.known == tuple(token != "mystery" for token in tokens)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("labels", [("bad", "good"), ("bad", "fair", "good")])
def test_gradient_times_input_is_the_slope_along_each_embedding(bidirectional: bool, labels: tuple[str, ...]) -> None:
    """Scaling one token's embedding by 1 + e changes the log-odds by e times its share."""
    model = classifier(bidirectional, labels)
    found = judge_text(model, TEXT)
    label = labels.index(found.prediction.label)
    ids = torch.tensor([model.vocabulary.encode(found.tokens)])

    def log_odds(place: int, scale: float) -> float:
        x = model.model.embedding(ids).detach()
        x[0, place] *= scale
        network = model.model
        embedding = nn.Embedding.from_pretrained(x[0])
        places = torch.arange(ids.size(1))[None]
        kept, network.embedding = network.embedding, embedding
        p = network(places, torch.tensor([ids.size(1)])).softmax(-1)[0, label].item()
        network.embedding = kept
        return math.log(p / (1 - p))

    slopes = [(log_odds(place, 1 + 1e-5) - log_odds(place, 1 - 1e-5)) / 2e-5 for place in range(ids.size(1))]
    assert found.attribution == pytest.approx(slopes, abs=1e-6)
    assert (found.prefixes is None) == bidirectional


@pytest.mark.parametrize(("truncate", "read"), [("end", slice(0, 4)), ("start", slice(5, 9))])
def test_only_what_is_read_is_explained(truncate: str, read: slice) -> None:
    model = classifier(max_length=4, truncate=truncate)
    found = judge_text(model, TEXT)
    assert found.read == read
    assert len(found.attribution) == 4
    assert found.prefixes is not None
    assert found.prefixes[-1] == pytest.approx(found.prediction.probability)
    inner = judge_text(model, " ".join(TEXT.split()[read]))
    assert inner.attribution == pytest.approx(found.attribution)


def test_a_text_without_a_token_has_nothing_to_explain() -> None:
    found = judge_text(classifier(), " ")
    assert (found.tokens, found.attribution, found.prefixes) == ((), (), ())


def test_a_window_of_training_does_not_cut_what_is_explained() -> None:
    model = classifier()
    whole = judge_text(model, TEXT)
    model.model.window = 2
    assert judge_text(model, TEXT).attribution == pytest.approx(whole.attribution)


def language_model(cell: str = "lstm") -> LoadedLanguageModel:
    values = {"task": "mysterious_island", "encoder": {"hidden_size": 6, "cell": cell}, "model": {"embedding_size": 5}}
    config: Any = from_dict(values)
    model = build_language_model(config, 6).double().eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    return LoadedLanguageModel(model, Codec("characters", Vocabulary(["<pad>", "<unk>", *"abc "])), "a", config, {})


def test_surprise_is_the_information_of_each_character() -> None:
    model, text = language_model(), "ab ca?b"
    found = surprise(model, text)
    lstm = nn.LSTM(5, 6, batch_first=True)
    lstm.load_state_dict(model.model.encoder.state_dict())
    ids = torch.tensor([[2, 3, 5, 4, 2, 1, 3]])
    output, _ = lstm(model.model.embedding(ids))
    probabilities = F.linear(output, model.model.output_weight, model.model.bias).softmax(-1)[0].detach()
    bits = [-math.log2(probabilities[place, ids[0, place + 1]]) for place in range(6)]
    assert found.bits == pytest.approx(bits)
    assert found.bits_per_character == pytest.approx(sum(bits) / 6)
    assert found.known == (True, True, True, True, True, False, True)
    names = ["<pad>", "<unk>", "a", "b", "c", " "]
    for row, expected in zip(probabilities, found.expected, strict=False):
        likeliest = sorted(range(6), key=lambda id_: -row[id_])[:3]
        assert [name for name, _ in expected] == [names[id_] for id_ in likeliest]
        assert [value for _, value in expected] == pytest.approx([row[id_].item() for id_ in likeliest])


def test_each_kind_of_model_is_explained() -> None:
    model, other = classifier(), language_model()
    assert explain(judge_text, model, [TEXT, "dull"]) == [judge_text(model, TEXT), judge_text(model, "dull")]
    assert explain(surprise, other, ["abc", "cab"]) == [surprise(other, "abc"), surprise(other, "cab")]


def test_an_explanation_has_what_is_printed_of_it() -> None:
    found = judge_text(classifier(labels=("bad", "excellent")), TEXT)
    assert (found.size, found.unit, found.note) == (9, "tokens", "")
    assert found.answer == f"{found.prediction.label:<9}  {found.prediction.probability:.3f}"
    assert found.figures()["probabilities"] == found.prediction.probabilities
    assert judge_text(classifier(), "unheard-of").note == "  (no word that the model knows)"
    other = surprise(language_model(), "abcab")
    assert (other.size, other.unit, other.note) == (5, "characters", "")
    assert other.answer == f"{other.bits_per_character:.3f} bits per character"
    assert other.figures() == {"bits_per_character": other.bits_per_character, "characters": 4}


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([], "no text to explain"),
        (["a"], "the text has 1 characters"),
        (["ab"] * 101, "more than 100 texts"),
        (["ab" * 6000] * 2, "more than 20,000 characters"),
    ],
)
def test_what_no_page_could_show_is_refused(texts: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        explain(surprise, language_model(), texts)


def test_a_diverged_model_explains_nothing() -> None:
    model, other = language_model(), classifier()
    nn.init.constant_(model.model.bias, math.nan)
    nn.init.constant_(other.model.embedding.weight, math.nan)
    with pytest.raises(UserError, match="not finite"):
        surprise(model, "abc")
    with pytest.raises(UserError, match="not finite"):
        judge_text(other, TEXT)


def test_the_shares_of_equal_logits_are_of_the_label_asked_for() -> None:
    """With two classes, what speaks for one speaks equally against the other."""
    model = classifier()
    ids = torch.tensor([[2, 4, 5]])
    torch.testing.assert_close(
        gradient_times_input(model.model, ids, 0), -gradient_times_input(model.model, ids, 1), rtol=1e-9, atol=1e-12
    )
