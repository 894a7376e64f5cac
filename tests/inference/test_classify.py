"""A loaded classifier: the same answer alone and among others, in order, for any text."""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.settings import from_dict
from unroll import checkpoint
from unroll.config import to_dict
from unroll.errors import CheckpointError, DataError
from unroll.inference.classify import CHUNK, LoadedClassifier
from unroll.inference.evaluate import evaluate
from unroll.inference.load import load
from unroll.models.classifier import build_classifier
from unroll.text.vocabulary import Vocabulary

WORDS = ["a", "good", "bad", "film", "plot", "<3", "it", "'"]


def content(**groups: Any) -> dict[str, Any]:
    """A checkpoint of an untrained model that knows `WORDS`."""
    torch.manual_seed(0)
    config = from_dict({"trainer": {"max_epochs": 1}, "model": {"embedding_size": 8}} | groups)
    vocabulary = Vocabulary(["<pad>", "<unk>", *WORDS])
    weights = build_classifier(config, len(vocabulary), 2).state_dict()
    return {
        "format": checkpoint.FORMAT,
        "task": "imdb",
        "config": to_dict(config),
        "vocabulary": list(vocabulary.tokens),
        "tokenizer": "basic_english",
        "labels": ["negative", "positive"],
        "data": {"source": "local", "origin": "x.csv", "fingerprint": "0"},
        "versions": {},
        "state_dict": {f"model.{name}": weight for name, weight in weights.items()},
    }


def saved(tmp_path: Path, **changes: Any) -> Path:
    path = tmp_path / "model.ckpt"
    checkpoint.save(content() | changes, path)
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedClassifier:
    return load(saved(tmp_path_factory.mktemp("model")))


def test_the_probabilities_are_those_of_the_model_itself(model: LoadedClassifier) -> None:
    (prediction,) = model.predict(["A good film, unheard-of!"])
    ids = torch.tensor([[2, 3, 5, 1, 1, 1]])  # a good film <,> <unheard-of> <!>
    expected = model.model(ids, torch.tensor([6])).softmax(-1)[0].tolist()
    assert list(prediction.probabilities.values()) == pytest.approx(expected, abs=1e-6)
    assert prediction.probability == max(prediction.probabilities.values())
    assert prediction.label == model.labels[expected.index(max(expected))]
    assert (prediction.tokens, prediction.unknown) == (6, 3)


def test_a_text_gets_the_same_alone_and_among_others_and_the_order_is_kept(model: LoadedClassifier) -> None:
    random_ = random.Random(0)
    texts = [" ".join(random_.choices(WORDS, k=random_.choice([1, 2, 5, 60]))) for _ in range(100)]
    together = model.predict(texts)
    for text, prediction in zip(texts, together, strict=True):
        (alone,) = model.predict([text])
        assert alone.label == prediction.label
        assert alone.probability == pytest.approx(prediction.probability, abs=1e-5)
        assert alone.tokens == prediction.tokens


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(), max_size=5))
def test_any_text_has_a_prediction(model: LoadedClassifier, texts: list[str]) -> None:
    predictions = model.predict(texts)
    assert len(predictions) == len(texts)
    for prediction in predictions:
        assert sum(prediction.probabilities.values()) == pytest.approx(1, abs=1e-5)
        assert 0 <= prediction.unknown <= prediction.tokens >= 1


@pytest.mark.parametrize("text", ["", "   ", "xyzzy", "\x00", "😀", "<br /><br />", "\ud83d"])
def test_a_text_without_a_known_word_says_so(model: LoadedClassifier, text: str) -> None:
    (prediction,) = model.predict([text])
    assert prediction.unknown == prediction.tokens


def test_a_hundred_thousand_words_are_read_or_shortened_as_in_training(tmp_path: Path) -> None:
    text = "bad " * 100_000
    assert load(saved(tmp_path)).predict([text])[0].tokens == 100_000
    config = content(data={"max_length": 7, "truncate": "start"})["config"]
    short = load(saved(tmp_path, config=config))
    assert short.predict([text])[0].tokens == 7
    assert short.predict([text + "good"])[0].probability == short.predict(["bad " * 6 + "good"])[0].probability


def test_the_stream_is_lazy_and_bounded(model: LoadedClassifier) -> None:
    taken = itertools.count()
    texts = (f"good {next(taken)}" for _ in itertools.repeat(None))  # without end
    predictions = model.predict_stream(texts)
    next(predictions)
    assert next(taken) == 1
    for _ in range(300):
        next(predictions)
    assert next(taken) < 1000 < CHUNK


def test_a_single_string_is_refused(model: LoadedClassifier) -> None:
    with pytest.raises(TypeError, match=r"predict\(\[text\]\)"):
        model.predict("good")


def test_evaluation_agrees_with_counting_by_hand(model: LoadedClassifier, tmp_path: Path) -> None:
    texts = ["good film", "bad film", "it", "plot", "good good"]
    labels = [1, 0, 1, 0, 0]
    predicted = model.predict(texts)
    right = sum(model.labels.index(p.label) == label for p, label in zip(predicted, labels, strict=True))
    nats = -sum(
        torch.log(torch.tensor(p.probabilities[model.labels[label]])).item()
        for p, label in zip(predicted, labels, strict=True)
    )
    positive = [p.probabilities["positive"] for p in predicted]
    pairs = [
        (a, b) for a, x in zip(positive, labels, strict=True) for b, y in zip(positive, labels, strict=True) if x > y
    ]
    path = tmp_path / "test.csv"
    path.write_text("text,label\n" + "\n".join(f"{t},{model.labels[y]}" for t, y in zip(texts, labels, strict=True)))
    figures = evaluate(saved(tmp_path), path, "test")
    assert figures["examples"] == 5
    assert figures["accuracy"] == pytest.approx(right / 5)
    assert figures["loss"] == pytest.approx(nats / 5, abs=1e-5)
    assert figures["auroc"] == pytest.approx(sum((a > b) + (a == b) / 2 for a, b in pairs) / len(pairs), abs=1e-6)
    for label, name in enumerate(model.labels):
        taken = [model.labels.index(p.label) == label for p in predicted]
        hits = sum(took and y == label for took, y in zip(taken, labels, strict=True))
        assert figures[f"precision/{name}"] == pytest.approx(hits / sum(taken) if any(taken) else 0.0)
        assert figures[f"recall/{name}"] == pytest.approx(hits / labels.count(label))


def test_labels_that_the_model_does_not_know_and_another_corpus_are_refused(
    model: LoadedClassifier, reviews: Path, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r"row 1 has the label 'good'; the labels are negative, positive"):
        evaluate(saved(tmp_path), reviews / "test.csv", "test")
    (tmp_path / "cache").mkdir()
    config = content(data={"path": str(reviews), "folder": str(tmp_path)})["config"]
    with pytest.raises(DataError, match="not the one that the model was trained on"):
        evaluate(saved(tmp_path, config=config), None, "test")


@pytest.mark.parametrize(
    "weight",
    [
        torch.zeros(1).expand(10, 8),  # a few bytes that claim to be many
        torch.zeros(10, 8).to_sparse(),
        torch.zeros(10, 8, dtype=torch.int64),
        torch.zeros(10, 9)[:, :8],
    ],
    ids=["view", "sparse", "integers", "gaps"],
)
def test_weights_that_are_no_plain_arrays_are_refused(tmp_path: Path, weight: torch.Tensor) -> None:
    changed = content()
    changed["state_dict"]["model.embedding.weight"] = weight
    path = tmp_path / "model.ckpt"
    checkpoint.save(changed, path)
    with pytest.raises(CheckpointError, match=r"embedding.weight is not an array of floating-point numbers"):
        load(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"config": {"encoder": {"sell": "lstm"}}}, "encoder.sell"),
        ({"config": {"encoder": {"cell": "os.system"}, "trainer": {"max_epochs": 1}}}, "must be one of rnn_tanh"),
        ({"vocabulary": ["a", "b"]}, "a vocabulary begins with"),
        ({"vocabulary": ["<pad>", "<unk>"]}, "embedding.weight is (10, 8), not (2, 8)"),
        ({"labels": ["one", "two", "three"]}, "head.0"),
        ({"labels": ["one", 2]}, "'labels' holds something that is no string"),
        ({"vocabulary": ["<pad>", "<unk>", 3]}, "'vocabulary' holds something that is no string"),
        ({"state_dict": {}}, "is missing"),
        ({"state_dict": {"model.extra": torch.zeros(1)}}, "is missing"),
    ],
)
def test_parts_that_do_not_fit_are_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        load(saved(tmp_path, **changes))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_sizes_that_a_file_only_claims_take_no_memory(tmp_path: Path) -> None:
    config = content()["config"]
    config["encoder"] |= {"hidden_size": 65536, "num_layers": 64}
    with pytest.raises(CheckpointError, match="the weight"):
        load(saved(tmp_path, config=config))
