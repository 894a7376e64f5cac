"""What `predict` and `generate` are given: anything but texts and numbers is refused with its place."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest

from tests.inference.test_classify import saved
from tests.inference.test_generate import make_model
from unroll.errors import UserError
from unroll.inference.classify import LoadedClassifier
from unroll.inference.load import load

TEXTS: list[tuple[Any, str]] = [
    (["a", "b", "c", None], "[3] is None; give a str"),
    (["a", math.nan], "[1] is nan; give a str"),
    (["a", 5], "[1] is 5; give a str"),
    ([True], "[0] is True; give a str"),
    ([10**5000], "[0] is a number of 16610 bits; give a str"),
    (["a", b"b"], "[1] is bytes; decode it, as in text.decode()"),
    ([["a"]], "[0] is list; give a str"),
    ((x for x in ["a", {}]), "[1] is dict; give a str"),
    (np.array(["a", None], dtype=object), "[1] is None; give a str"),
    (None, " must be a list of texts, not None; put a single text in a list: [text]"),
    (3, " must be a list of texts, not 3"),
    (b"a", " must be a list of texts, not bytes"),
]


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> LoadedClassifier:
    model: LoadedClassifier = load(saved(tmp_path_factory.mktemp("model")))
    return model


@pytest.mark.parametrize(("texts", "message"), TEXTS, ids=lambda value: str(value)[:30] if type(value) is str else "")
def test_what_is_no_text_is_named_with_its_index(classifier: LoadedClassifier, texts: Any, message: str) -> None:
    texts = texts if not isinstance(texts, Iterable) or isinstance(texts, bytes) else list(texts)
    with pytest.raises(TypeError) as caught:
        classifier.predict(texts)
    assert f"texts{message}" in str(caught.value)
    if type(texts) is not bytes or texts:
        with pytest.raises(TypeError) as caught:
            make_model().generate(texts, 3)
        assert f"prompt{message}" in str(caught.value)


def test_a_stream_gives_the_answers_before_the_mistake(classifier: LoadedClassifier) -> None:
    answers = classifier.predict_stream(["good", None])  # type: ignore[list-item]
    assert next(answers).label == classifier.predict(["good"])[0].label
    with pytest.raises(TypeError, match=r"texts\[1\] is None"):
        next(answers)
    with pytest.raises(TypeError, match="not str"):
        classifier.predict_stream("good")  # at once


def test_texts_of_other_libraries_are_texts(classifier: LoadedClassifier) -> None:
    expected = classifier.predict(["good", "bad film"])
    assert classifier.predict(np.array(["good", "bad film"])) == expected
    assert classifier.predict(iter(["good", "bad film"])) == expected
    model = make_model()
    assert model.generate(np.array(["a", "K"]), 9) == model.generate(["a", "K"], 9)
    same = {"length": np.int64(9), "temperature": np.float32(0.5), "top_k": np.int8(3), "seed": np.uint64(2**63)}
    assert model.generate("K", **same) == model.generate("K", 9, 0.5, 3, seed=2**63)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"length": 10.0}, "length must be a whole number, not 10.0"),
        ({"length": "10"}, "length must be a whole number, not str"),
        ({"length": None}, "length must be a whole number, not None"),
        ({"length": True}, "length must be a whole number, not True"),
        ({"length": math.nan}, "length must be a whole number, not nan"),
        ({"seed": 1.5}, "seed must be a whole number, not 1.5"),
        ({"seed": False}, "seed must be a whole number, not False"),
        ({"samples": 2.0}, "samples must be a whole number, not 2.0"),
        ({"samples": "2"}, "samples must be a whole number, not str"),
        ({"top_k": 3.0}, "top_k must be a whole number, not 3.0"),
        ({"top_k": [3]}, "top_k must be a whole number, not list"),
        ({"top_p": "0.9"}, "top_p must be a number, not str"),
        ({"top_p": True}, "top_p must be a number, not True"),
        ({"temperature": None}, "temperature must be a number, not None"),
        ({"temperature": "1"}, "temperature must be a number, not str"),
        ({"temperature": False}, "temperature must be a number, not False"),
        ({"temperature": 1j}, "temperature must be a number, not complex"),
    ],
    ids=str,
)
def test_what_is_no_number_is_named(arguments: dict[str, Any], message: str) -> None:
    model = make_model()
    for method in (model.generate, model.stream):
        with pytest.raises(TypeError, match=message):
            method(**arguments)


def test_a_vocabulary_without_a_single_character_is_refused() -> None:
    model = make_model(letters="", extra=("it", "is"))
    for method in (model.generate, model.stream):
        with pytest.raises(UserError, match="holds no single character"):
            method("", 5)


@pytest.mark.parametrize("text", ["\ud83d", "good \udfff film", "\ud800\udc00"])
def test_half_a_character_is_an_unknown_word(classifier: LoadedClassifier, text: str) -> None:
    (prediction,) = classifier.predict([text])
    assert prediction.unknown >= 1
    assert classifier.predict([text, "good"])[0].label == prediction.label
