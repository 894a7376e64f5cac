"""Text from a language model against torch.nn and textbook sampling in float64, alone and among others."""

from __future__ import annotations

import io
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import nn
from torch.nn import functional as F

from tests.faults import checkpoint_bombs as bombs
from tests.faults.outcome import Outcome
from tests.inference.distribution import probabilities
from tests.settings import from_dict
from unroll import checkpoint
from unroll.config import LanguageModelingConfig, to_dict
from unroll.encoders import RecurrentEncoder
from unroll.errors import DataError, UserError
from unroll.inference.generate import LoadedLanguageModel
from unroll.inference.load import load
from unroll.inference.score import score_dynamically
from unroll.inference.torch_stepper import TorchStepper
from unroll.models.language_model import LanguageModel, build_language_model
from unroll.progress import Display, display
from unroll.text.codec import Codec
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
    return LoadedLanguageModel(model.eval(), Codec("characters", vocabulary), opening, LanguageModelingConfig(), {})


def constant(logits: list[float]) -> LoadedLanguageModel:
    """A model with the same logits at each step, and high ones for `<pad>` and `<unk>`."""
    loaded = make_model(LETTERS[: len(logits)])
    with torch.no_grad():
        assert loaded.model.weight is not None
        loaded.model.weight.zero_()
        loaded.model.bias.copy_(torch.tensor([9.0, 9.0, *logits]))
    return loaded


@torch.no_grad()
def by_hand(
    loaded: LoadedLanguageModel,
    prompt: str,
    length: int,
    seed: int = 0,
    sample: int = 0,
    temperature: float = 1.0,
    **filters: Any,
) -> str:
    """What `generate` is to return for one prompt: torch.nn in float64, a symbol at a time. No choice is close enough
    for float32 to err."""
    model, tokens = loaded.model, loaded.vocabulary.tokens
    assert model.embedding is not None and model.weight is not None
    lstm = nn.LSTM(8, 16, batch_first=True)
    lstm.load_state_dict(model.encoder.state_dict())
    lstm.double()
    characters = [i for i, token in enumerate(tokens) if len(token) == 1]
    source = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(sample,))))
    noise = -np.log(source.standard_exponential((length, len(characters))))
    text, read, state = prompt or loaded.opening, 0, None
    for step in range(0 if prompt else 1, length):
        ids = torch.tensor([loaded.vocabulary.encode(text[read:])])
        read = len(text)
        output, state = lstm(F.embedding(ids, model.embedding.weight.double()), state)
        logits = (output[0, -1] @ model.weight.double().T + model.bias.double())[characters].tolist()
        kept = range(len(logits))
        if temperature:
            kept = [i for i, p in enumerate(probabilities(logits, temperature, **filters)) if p]
        scores = {i: logits[i] + temperature * noise[step, i] for i in kept}
        best, *others = sorted(scores, key=lambda i: -scores[i])
        assert all(scores[best] - scores[other] > 1e-5 for other in others[:1])
        text += tokens[characters[best]]
    return text


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_a_text_is_the_one_by_hand(way: dict[str, Any]) -> None:
    model = make_model()
    for prompt in ("", "Mad fig.", "a"):
        assert model.generate(prompt, 200, **way, seed=3) == by_hand(model, prompt, 200, **way, seed=3)


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_each_sample_has_random_numbers_of_its_own(way: dict[str, Any]) -> None:
    model = make_model()
    together = model.generate("P", 100, **way, seed=5, samples=8)
    assert together == [by_hand(model, "P", 100, 5, sample, **way) for sample in range(8)]
    assert model.generate("P", 100, **way, seed=5) == together[0]
    assert model.generate("P", 100, **way, seed=5, samples=3) == together[:3]
    assert len(set(together)) == (8 if way["temperature"] else 1)
    assert model.generate("P", 40, **way, seed=5, samples=8) == [text[:41] for text in together]
    if way["temperature"]:
        assert model.generate("P", 100, **way, seed=6) not in together


def test_prompts_of_different_lengths_are_continued_as_each_alone() -> None:
    model = make_model()
    prompts = ["a bad fig", "", "K", "a" * 300, "K", "had a cab.\nLO", ""]
    together = model.generate(prompts, 120, 0.9, seed=2)
    assert together == [by_hand(model, prompt, 120, 2, i, 0.9) for i, prompt in enumerate(prompts)]


def test_an_encoder_without_a_step_in_numpy_generates_the_same_text() -> None:
    prompts = ["a bad fig", "", "K", "K"]
    expected = make_model().generate(prompts, 60, 0.8, top_p=0.9, seed=3)
    torch.manual_seed(0)
    model = make_model()
    model._stepper = TorchStepper(model.model)
    assert model.generate(prompts, 60, 0.8, top_p=0.9, seed=3) == expected
    assert expected[2:] == [by_hand(model, "K", 60, 3, sample, 0.8, top_p=0.9) for sample in (2, 3)]


def test_symbols_are_drawn_with_their_probabilities() -> None:
    logits = [0.3, 2.0, -1.0, 1.1, 0.0, -3.0, 1.4]
    texts = constant(logits).generate("a", 400, 1.5, seed=1, samples=64)
    counts, draws = Counter("".join(text[1:] for text in texts)), 400 * 64
    expected = dict(zip(LETTERS, probabilities(logits, 1.5), strict=False))
    chi_square = sum((counts[letter] - draws * p) ** 2 / (draws * p) for letter, p in expected.items())
    assert counts.keys() == expected.keys()
    assert chi_square < 6 + 5 * math.sqrt(2 * 6)


def test_extreme_temperatures_and_filters() -> None:
    model = make_model()
    greedy = by_hand(model, "K", 100, temperature=0)
    for way in ({"temperature": 1e-300}, {"temperature": 5e-324, "top_p": 0.5}, {"top_p": 1e-300}, {"top_k": 1}):
        assert model.generate("K", 100, **way) == greedy
    for top_p in (None, 1.0):
        counts = Counter(model.generate("K", 8000, 1e308, top_p=top_p)[1:])
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
        ({"samples": 10**9}, "samples must be at most 100,000, not 1000000000"),
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


def test_a_recurrence_that_explodes_is_named() -> None:
    """A ReLU whose state is 2^t, for which float32 is too small from step 128 on."""
    model = LanguageModel(RecurrentEncoder("rnn_relu", 1, 1), vocabulary_size=5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.encoder.weight_hh_l0.fill_(2.0)
        model.encoder.bias_ih_l0.fill_(1.0)
        assert model.weight is not None
        model.weight[3] = 1e-37
    codec = Codec("characters", Vocabulary(["<pad>", "<unk>", *"abc"]))
    loaded = LoadedLanguageModel(model, codec, "a", LanguageModelingConfig(), {})
    assert len(loaded.generate("a", 120)) == 121
    with pytest.raises(UserError, match="logits are not finite"):
        loaded.generate("a", 140)


def content() -> dict[str, Any]:
    """A checkpoint of an untrained model."""
    config = from_dict({"task": "language_modeling", "encoder": {"hidden_size": 16}, "model": {"embedding_size": 8}})
    weights = build_language_model(config, len(LETTERS) + 2).state_dict()
    return {
        "format": checkpoint.FORMAT,
        "task": "novel",
        "config": to_dict(config),
        "tokenizer": "characters",
        "vocabulary": ["<pad>", "<unk>", *LETTERS],
        "labels": [],
        "opening": "a",
        "data": {"source": "local", "origin": "x.txt", "fingerprint": "0"},
        "versions": {},
        "state_dict": {f"model.{name}": weight for name, weight in weights.items()},
    }


def test_a_checkpoint_is_loaded_and_a_damaged_one_is_refused(tmp_path: Path) -> None:
    path, refused = tmp_path / "model.ckpt", Outcome("contents")
    checkpoint.save(content(), path)
    assert load(path).generate("K", 5)[0] == "K"
    for name, changed in bombs.contents(content()):
        checkpoint.save(changed, path)
        with refused.trial(name):
            load(path)
    assert refused.lost == []
    assert refused.notes == {"refused": refused.tried}


def test_a_model_says_what_it_is() -> None:
    model = make_model()
    size = sum(parameter.numel() for parameter in model.model.parameters())
    described = repr(model).splitlines()
    assert described[0].endswith(f", one direction, {size:,} parameters")
    assert described[0].startswith("language model: lstm, 1 layer of ")
    assert described[1:] == [
        "  trained on: nothing yet",
        "  vocabulary: 19 characters",
        '  use: model.generate("The", length=200) returns the prompt and what follows it',
    ]


def test_long_work_is_shown_where_a_program_asks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model, screen = make_model(), io.StringIO()
    text = model.codec.tokenize("Mad fig.\n" * 500)
    expected = (model.generate("K", 20, samples=2), model.score(text))
    assert capsys.readouterr() == ("", "")
    console = Console(file=screen, width=100)
    monkeypatch.setattr("unroll.progress.Display", lambda console: Display(console, seconds_between_lines=0))
    with display(console):
        found = (model.generate("K", 20, samples=2), model.score(text))
        rms = {name: torch.ones_like(p) for name, p in model.model.named_parameters()}
        score_dynamically(model.model, text.ids[:200], rms)
    assert found == expected
    lines = screen.getvalue().splitlines()
    assert any(line.startswith("generating  10 of 20 steps") for line in lines)
    assert any(line.startswith("evaluating  3 of 5 windows") for line in lines)
    assert any(line.startswith("evaluating  3 of 4 windows") for line in lines)
