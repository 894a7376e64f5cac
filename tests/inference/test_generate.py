"""Text from a language model against torch.nn and textbook sampling in float64, alone and in company."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from unroll.config import LanguageModelingConfig
from unroll.encoders import RecurrentEncoder
from unroll.errors import DataError, UserError
from unroll.inference import generate
from unroll.inference.generate import LoadedLanguageModel
from unroll.inference.stepper import Stepper
from unroll.models.language_model import LanguageModel
from unroll.text.vocabulary import Vocabulary

pytestmark = pytest.mark.filterwarnings("error")

LETTERS = "abcdefghij KLMNOP.\n"
WAYS: list[dict[str, Any]] = [
    {"temperature": 0},
    {"temperature": 0.5},
    {"temperature": 1.0},
    {"temperature": 0.8, "top_k": 3},
    {"temperature": 0.8, "top_p": 0.7},
    {"temperature": 1.3, "top_k": 8, "top_p": 0.8},
]


def make_model(letters: str = LETTERS, opening: str = "a", extra: tuple[str, ...] = ()) -> LoadedLanguageModel:
    """An LSTM whose symbols depend on its state, some likely and some not."""
    vocabulary = Vocabulary(["<pad>", "<unk>", *letters[:5], *extra, *letters[5:]])
    model = LanguageModel(RecurrentEncoder("lstm", 8, 16), vocabulary_size=len(vocabulary))
    for name, parameter in model.named_parameters():
        nn.init.normal_(parameter, std=1.5 if "encoder" in name or "embedding" in name else 0.8)
    with torch.no_grad():
        model.bias.mul_(0.1)[:2] = 5.0  # <pad> and <unk> are likelier than all others
    return LoadedLanguageModel(model.eval(), vocabulary, opening, LanguageModelingConfig(), {})


def constant(logits: list[float]) -> LoadedLanguageModel:
    """A model with the same logits at each step, and high ones for `<pad>` and `<unk>`."""
    loaded = make_model(LETTERS[: len(logits)])
    with torch.no_grad():
        assert loaded.model.weight is not None
        loaded.model.weight.zero_()
        loaded.model.bias.copy_(torch.tensor([9.0, 9.0, *logits]))
    return loaded


def probabilities(
    logits: list[float], temperature: float, top_k: int | None = None, top_p: float | None = None
) -> list[float]:
    """The distribution to sample from, as the papers have it."""
    order = sorted(range(len(logits)), key=lambda i: -logits[i])[:top_k]
    weights = {i: math.exp((logits[i] - logits[order[0]]) / temperature) for i in order}
    total, so_far, kept = sum(weights.values()), 0.0, []
    for i in order:
        kept.append(i)
        so_far += weights[i] / total
        if so_far >= (top_p or 2):
            break
    mass = sum(weights[i] for i in kept)
    return [weights[i] / mass if i in kept else 0.0 for i in range(len(logits))]


@torch.no_grad()
def by_hand(
    loaded: LoadedLanguageModel, prompt: str, length: int, seed: int = 0, temperature: float = 1.0, **filters: Any
) -> str:
    """What `generate` is to return for one prompt: torch.nn in float64, a symbol at a time, and one noise a symbol."""
    model, tokens = loaded.model, loaded.vocabulary.tokens
    assert model.embedding is not None and model.weight is not None
    lstm = nn.LSTM(8, 16, batch_first=True)
    lstm.load_state_dict(model.encoder.state_dict())
    lstm.double()
    characters = [i for i, token in enumerate(tokens) if len(token) == 1]
    noise = -np.log(-np.log(np.random.Generator(np.random.PCG64(seed)).random((length, len(characters)))))
    text, read, state = prompt or loaded.opening, 0, None
    for step in range(0 if prompt else 1, length):
        ids = torch.tensor([loaded.vocabulary.encode(text[read:])])
        read = len(text)
        output, state = lstm(F.embedding(ids, model.embedding.weight.double()), state)
        logits = (output[0, -1] @ model.weight.double().T + model.bias.double())[characters].tolist()
        if temperature == 0:
            best = max(range(len(logits)), key=logits.__getitem__)
        else:
            kept = [i for i, p in enumerate(probabilities(logits, temperature, **filters)) if p]
            best = max(kept, key=lambda i: logits[i] + temperature * noise[step, i])
        text += tokens[characters[best]]
    return text


class Noisy(Stepper):
    """A float32 stepper with errors of up to `error` in each logit."""

    error, random = 0.0, np.random.default_rng(0)

    def step(self, symbols: Any, state: Any) -> Any:
        logits = super().step(symbols, state)
        logits += self.random.uniform(-self.error, self.error, logits.shape).astype(np.float32)
        return logits


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_a_text_is_the_one_by_hand(way: dict[str, Any]) -> None:
    model = make_model()
    for prompt in ("", "Mad fig.", "a"):
        assert model.generate(prompt, 200, **way, seed=3) == by_hand(model, prompt, 200, **way, seed=3)


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_a_text_is_the_same_alone_and_among_others(way: dict[str, Any]) -> None:
    model = make_model()
    together = model.generate("P", 300, **way, seed=5, samples=64)
    for i in (0, 1, 17, 63):
        assert model.generate("P", 300, **way, seed=5 + i) == together[i]
    assert model.generate("P", 300, **way, seed=5, samples=7) == together[:7]
    assert len(set(together)) == (64 if way["temperature"] else 1)
    assert model.generate("P", 40, **way, seed=5, samples=64) == [text[:41] for text in together]


def test_prompts_of_different_lengths_are_continued_as_each_alone() -> None:
    model = make_model()
    prompts = ["a bad fig", "", "K", "a" * 300, "K", "had a cab.\nLO", ""]
    together = model.generate(prompts, 120, 0.9, seed=2)
    assert together == [model.generate(prompt, 120, 0.9, seed=2 + i) for i, prompt in enumerate(prompts)]
    assert together == [by_hand(model, prompt, 120, 2 + i, 0.9) for i, prompt in enumerate(prompts)]


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_close_decisions_are_float64s(way: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The leader may err, as much as the margin allows for: a hundred thousand times as much as float32 does, too."""
    model = make_model()
    expected = [by_hand(model, "be", 150, seed, **way) for seed in range(8)]
    for error, epsilon in ((1e-6, generate.EPSILON), (0.1, 0.2), (0.1, 1e9)):  # in the last case each one is close
        monkeypatch.setattr(generate, "EPSILON", epsilon)
        monkeypatch.setattr(Noisy, "error", error)
        model._steppers.fast = Noisy(model.model)
        assert model.generate("be", 150, **way, samples=8) == expected


def test_float64_is_seldom_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    model, asked = make_model(), itertools.count()
    decide = generate.Sampling.decide
    monkeypatch.setattr(generate.Sampling, "decide", lambda self, *given: (next(asked), decide(self, *given))[1])
    for way in WAYS:
        model.generate("K", 400, **way, samples=16)
    assert next(asked) < 6 * 400 * 16 / 500


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p"),
    [
        (1.0, None, None),
        (0.5, None, None),
        (2.0, None, 1.0),
        (1.0, 3, None),
        (1.0, None, 0.75),
        (1.5, 4, 0.8),
        (1, 99, 1),
    ],
)
def test_symbols_are_drawn_with_their_probabilities(temperature: float, top_k: int | None, top_p: float | None) -> None:
    logits = [0.3, 2.0, -1.0, 1.1, 0.0, -3.0, 1.4]
    texts = constant(logits).generate("a", 400, temperature, top_k, top_p, seed=1, samples=64)
    counts, draws = Counter("".join(text[1:] for text in texts)), 400 * 64
    expected = dict(zip(LETTERS, probabilities(logits, temperature, top_k, top_p), strict=False))
    assert counts.keys() == {letter for letter, p in expected.items() if p}
    chi_square = sum((counts[letter] - draws * p) ** 2 / (draws * p) for letter, p in expected.items() if p)
    freedom = len(counts) - 1
    assert chi_square < freedom + 5 * math.sqrt(2 * freedom)


def test_where_logits_are_equal_the_lower_ids_are_kept() -> None:
    model = constant([1.0, 2.0, 1.0, 2.0, 1.0, 1.0])
    assert set(model.generate("a", 400, top_k=3)[1:]) == {"b", "d", "a"}
    assert set(model.generate("a", 400, top_k=1)[1:] + model.generate("a", 400, 0)[1:]) == {"b"}
    assert set(constant([0.0, 1.0] * 9).generate("a", 900, top_k=13)[1:]) == {*LETTERS[1:18:2], *"aceg"}
    assert set(constant([0.0] * 10).generate("a", 400, top_p=0.55)[1:]) == set("abcdef")


@pytest.mark.parametrize("epsilon", [generate.EPSILON, 1e9])
def test_extreme_temperatures_and_filters(epsilon: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generate, "EPSILON", epsilon)
    model = make_model()
    greedy = by_hand(model, "K", 100, temperature=0)
    for way in ({"temperature": 1e-300}, {"temperature": 5e-324, "top_p": 0.5}, {"top_p": 1e-300}, {"top_k": 1}):
        assert model.generate("K", 100, **way) == greedy
    counts = Counter(model.generate("K", 8000, 1e308)[1:])
    assert len(counts) == len(LETTERS) and min(counts.values()) > 0.7 * 8000 / len(LETTERS)


def test_an_empty_prompt_begins_as_the_training_text_did() -> None:
    model = make_model(opening="K")
    assert {(text[0], len(text)) for text in model.generate("", 60, samples=5)} == {("K", 60)}
    rare = make_model(opening="ß")  # too rare for the vocabulary
    assert rare.generate("", 60) == by_hand(rare, "", 60)


def test_what_is_returned() -> None:
    model = make_model()
    text = model.generate("a cab", 30)
    assert isinstance(text, str) and text.startswith("a cab") and len(text) == 35
    assert model.generate("a cab", 30, samples=1) == model.generate(("a cab", "K"), 30)[:1] == [text]
    assert (len(model.generate("")), model.generate(length=1)) == (500, "a")
    assert model.generate([]) == []
    steps = list(model.stream("a cab", 30, samples=2))
    assert ["a cab" + "".join(column) for column in zip(*steps, strict=True)] == model.generate("a cab", 30, samples=2)


def test_a_stream_is_written_as_it_is_read() -> None:
    stream = make_model().stream("K", 10**15)
    assert all(len(next(stream)[0]) == 1 for _ in range(100))


def test_only_single_characters_are_written() -> None:
    model = make_model(extra=("it",))
    assert set("".join(model.generate("K", 300, 3.0, samples=20))) == set(LETTERS)
    assert model.generate("K", 100, 2.0) == by_hand(model, "K", 100, temperature=2.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"length": 0}, "length must be at least 1, not 0"),
        ({"temperature": -0.1}, "temperature must be a finite number, at least 0, not -0.1"),
        ({"temperature": math.inf}, "not inf"),
        ({"top_k": 0}, "top_k must be at least 1, not 0"),
        ({"top_p": 0.0}, "top_p must be above 0 and at most 1, not 0.0"),
        ({"top_p": 1.1}, "top_p must be above 0 and at most 1, not 1.1"),
        ({"top_p": math.nan}, "top_p must be above 0"),
        ({"temperature": math.nan}, "not nan"),
        ({"seed": -1}, "seed must be at least 0, not -1"),
        ({"samples": 0}, "samples must be at least 1, not 0"),
        ({"prompt": ["a", "b"], "samples": 2}, "samples are of one prompt"),
    ],
)
def test_numbers_out_of_range_are_refused_at_once(arguments: dict[str, Any], message: str) -> None:
    model = make_model()
    for method in (model.generate, model.stream):
        with pytest.raises(ValueError, match=message):
            method(**arguments)


@pytest.mark.parametrize(
    ("prompt", "named"),
    [("caféa", "'é' (position 3)"), (["a", "a\x00"], r"'\x00' (position 1)"), ("\ud83d", r"'\ud83d' (position 0)")],
)
def test_a_character_that_the_model_does_not_know_is_named(prompt: str | list[str], named: str) -> None:
    with pytest.raises(DataError) as caught:
        make_model(LETTERS).generate(prompt)
    message = str(caught.value).encode().decode()
    assert message == f"the prompt's character {named} is not among the 19 that the model knows; leave it out"


@pytest.mark.parametrize("prompt", [3, b"a", None, ["a", 3], [["a"]]])
def test_a_prompt_that_is_no_string_is_refused(prompt: Any) -> None:
    with pytest.raises(TypeError):
        make_model().generate(prompt)


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_logits_that_are_not_finite_are_named(value: float, way: dict[str, Any]) -> None:
    model = make_model()
    with torch.no_grad():
        model.model.bias[7] = value
    with pytest.raises(UserError, match="logits are not finite"):
        model.generate("K", 20, **way)


def explosive() -> LoadedLanguageModel:
    """A ReLU whose state is 2^t, for which float32 is too small from step 128 on, and float64 from step 1024."""
    model = LanguageModel(RecurrentEncoder("rnn_relu", 1, 1), vocabulary_size=5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.encoder.weight_hh_l0.fill_(2.0)
        model.encoder.bias_ih_l0.fill_(1.0)
        assert model.weight is not None
        model.weight[3] = 1e-37
    return LoadedLanguageModel(model, Vocabulary(["<pad>", "<unk>", *"abc"]), "a", LanguageModelingConfig(), {})


def test_where_float32_overflows_float64_goes_on_and_where_that_does_it_is_named() -> None:
    text = explosive().generate("a", 900)
    assert {"a", "c"} < set(text[:120])  # no symbol is likelier
    assert set(text[135:]) == {"b"}
    with pytest.raises(UserError, match="logits are not finite"):
        explosive().generate("a", 1100)
