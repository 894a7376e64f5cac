"""A loaded classifier: the same answer alone and among others, in order, for any text."""

from __future__ import annotations

import dataclasses
import io
import itertools
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from torch.nn import functional as F

from tests.faults import checkpoint_bombs as bombs
from tests.settings import from_dict
from unroll import checkpoint
from unroll.batching.documents import Documents
from unroll.config import to_dict
from unroll.errors import CheckpointError, DataError
from unroll.inference.classify import CHUNK, LoadedClassifier
from unroll.inference.evaluate import evaluate
from unroll.inference.load import load
from unroll.models.classifier import build_classifier
from unroll.ngrams.naive_bayes import NaiveBayesNGrams
from unroll.progress import Display, display
from unroll.tasks.spec import load_data
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
    with pytest.raises(
        TypeError, match=r"texts must be a list of texts, not str; put a single text in a list: \[text\]"
    ):
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


def test_the_logits_of_ngrams_join_the_models(reviews: Path, tmp_path: Path) -> None:
    """With the factor that is best for the validation reviews; a fifth of them have the other label."""
    config = from_dict({"data": {"path": str(reviews), "folder": str(tmp_path), "val_fraction": 0.3}})
    data = load_data(config)
    data.val = dataclasses.replace(data.val, labels=(data.val.labels + (np.arange(len(data.val)) % 5 == 0)) % 2)
    net = build_classifier(config, len(data.vocabulary), 2).eval()
    model = LoadedClassifier(net, data.codec, data.labels, config, {})
    figures = model.score_mixed(data.test, data)
    ngrams = NaiveBayesNGrams(data.train, 2)

    def loss(documents: Documents, own: float, factor: float) -> float:
        mixed = own * model.logits(documents).double() + factor * torch.from_numpy(ngrams.logits(documents))
        return float(F.cross_entropy(mixed, torch.from_numpy(documents.labels)))

    own, factor = figures["net_factor"], figures["ngram_factor"]
    around = [(max(0.0, own + a), max(0.0, factor + b)) for a in (-0.1, 0, 0.1) for b in (-0.1, 0, 0.1)]
    assert loss(data.val, own, factor) <= min(loss(data.val, *others) for others in [*around, (1.0, 0.0)]) + 1e-9
    assert figures["mixed_loss"] == pytest.approx(loss(data.test, own, factor), abs=1e-6)
    right = ngrams.logits(data.test).argmax(1) == data.test.labels
    assert figures["ngram_accuracy"] == pytest.approx(right.mean())
    assert figures["mixed_accuracy"] > figures["accuracy"]


def test_labels_that_the_model_does_not_know_and_another_corpus_are_refused(
    model: LoadedClassifier, reviews: Path, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r"row 1 has the label 'good'; the labels are negative, positive"):
        evaluate(saved(tmp_path), reviews / "test.csv", "test")
    (tmp_path / "cache").mkdir()
    config = content(data={"path": str(reviews), "folder": str(tmp_path)})["config"]
    with pytest.raises(DataError, match="not the one that the model was trained on"):
        evaluate(saved(tmp_path, config=config), None, "test")


def _name(value: Any) -> str:
    return value if isinstance(value, str) else ""


@pytest.mark.parametrize(("name", "changed"), list(bombs.contents(content())), ids=_name)
def test_what_is_no_usable_model_is_refused_in_one_line(tmp_path: Path, name: str, changed: dict[str, Any]) -> None:
    checkpoint.save(changed, tmp_path / "model.ckpt")
    with pytest.raises(CheckpointError) as caught:
        load(tmp_path / "model.ckpt")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500 + len(str(tmp_path))


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (torch.full((10, 8), math.nan), "embedding.weight is not finite: the training diverged"),
        (torch.zeros(10, 8, dtype=torch.int64), "embedding.weight is not an array of floating-point numbers"),
        (torch.zeros(10, 9)[:, :8], "embedding.weight is not an array of numbers that follow each other"),
        (torch.zeros(1).expand(10, 8), "a tensor that repeats its numbers"),
        ("text", "embedding.weight is a str, not a tensor"),
    ],
    ids=["nan", "integers", "gaps", "view", "text"],
)
def test_a_weight_that_is_none_is_named(tmp_path: Path, weight: Any, message: str) -> None:
    changed = content()
    changed["state_dict"]["model.embedding.weight"] = weight
    checkpoint.save(changed, tmp_path / "model.ckpt")
    with pytest.raises(CheckpointError, match=message):
        load(tmp_path / "model.ckpt")


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_any_precision_are_used(tmp_path: Path, kind: torch.dtype) -> None:
    changed = content()
    weights = {name: weight.to(kind) for name, weight in changed["state_dict"].items()}
    checkpoint.save(changed | {"state_dict": weights}, tmp_path / "all.ckpt")
    one = changed["state_dict"] | {"model.embedding.weight": weights["model.embedding.weight"]}
    checkpoint.save(changed | {"state_dict": one}, tmp_path / "one.ckpt")
    expected = load(saved(tmp_path)).predict(["a good film"])[0].probability
    for name in ("all", "one"):
        model = load(tmp_path / f"{name}.ckpt")
        assert model.predict(["a good film"])[0].probability == pytest.approx(expected, abs=5e-3)
        assert {p.dtype for p in model.model.parameters()} == {torch.promote_types(kind, torch.float32)}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"config": {"encoder": {"sell": "lstm"}}}, "encoder.sell"),
        ({"config": {"encoder": {"cell": "os.system"}, "trainer": {"max_epochs": 1}}}, "must be one of rnn_tanh"),
        ({"vocabulary": ["a", "b"]}, "a vocabulary begins with"),
        ({"vocabulary": ["<pad>", "<unk>"]}, "embedding.weight is (10, 8), not (2, 8)"),
        ({"labels": ["one", "two", "three"]}, "head.0"),
        ({"labels": ["one"]}, "'labels' holds fewer than two classes"),
        ({"labels": ["one", "one"]}, "'labels' holds an empty text, or one twice"),
        ({"labels": ["one", ""]}, "'labels' holds an empty text, or one twice"),
        ({"vocabulary": ["<pad>", "<unk>", "\udfff"]}, "half of a character"),
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


def test_a_model_says_what_it_is(tmp_path: Path) -> None:
    data = {"source": "local", "origin": "a\x1b[31m.csv", "fingerprint": "0", "train": 12}
    model = load(saved(tmp_path, labels=["no\u202e", "yes"], data=data))
    size = sum(parameter.numel() for parameter in model.model.parameters())
    assert repr(model) == (
        f"classifier: lstm, 1 layer of 64 units, one direction, {size:,} parameters\n"
        "  trained on: a␛[31m.csv (local)\n"
        "  vocabulary: 10 words; it reads texts of any length\n"
        "  labels: no\\u202e, yes\n"
        '  use: model.predict(["a text", "another"]) returns labels and probabilities'
    )
    many = load(saved(tmp_path, **content_of_classes(30)))
    assert "labels: class 0, class 1, " in repr(many)
    assert "class 9 and 20 more\n" in repr(many)


def content_of_classes(count: int) -> dict[str, Any]:
    weights = content()["state_dict"]
    head = {
        name: weight[:1].repeat(count, *[1] * (weight.dim() - 1)) for name, weight in weights.items() if "head" in name
    }
    return {"labels": [f"class {number}" for number in range(count)], "state_dict": weights | head}


def test_an_answer_is_safe_to_show(tmp_path: Path) -> None:
    predictions = load(saved(tmp_path, labels=["\x1b[2J\n", "a"])).predict(["good", "bad plot"])
    assert all(each.answer.isprintable() for each in predictions)
    assert len({len(each.answer) for each in predictions}) == 1
    assert {each.label for each in predictions} <= {"\x1b[2J\n", "a"}


def test_work_is_shown_where_a_program_asks(
    model: LoadedClassifier, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "test.csv"
    path.write_text("text,label\n" + "good film,positive\nbad film,negative\n" * 4)
    documents, screen = model.read(path, "test"), io.StringIO()
    model.predict(["good"] * 5)
    model.score(documents)
    assert capsys.readouterr() == ("", "")
    console = Console(file=screen, width=100)
    monkeypatch.setattr("unroll.progress.Display", lambda console: Display(console, seconds_between_lines=0))
    with display(console):
        list(model.predict_stream(["good"] * 5))
        model.score(documents)
    lines = screen.getvalue().splitlines()
    assert lines[0].startswith("predicting  1 of 5 texts")
    assert lines[-2].startswith("predicting  5 of 5 texts")
    assert lines[-1].startswith("evaluating  8 of 8 documents")
