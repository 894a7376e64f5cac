"""The surprise of what is written, against the probabilities of the model itself in float64."""

from __future__ import annotations

import math

import pytest
import torch

from tests.settings import from_dict
from unroll.inference.generate import LoadedLanguageModel
from unroll.inference.sampling import Sampler

TEXT = "The island was silent. “Captain,” cried the sailor.\n"


@pytest.fixture(scope="module", params=["characters", "bpe", "whitespace"])
def model(request: pytest.FixtureRequest) -> LoadedLanguageModel:
    data = {"tokenizer": request.param, "max_size": 270 if request.param == "bpe" else None}
    config = from_dict({"task": "mysterious_island", "data": data, "encoder": {"hidden_size": 16}})
    return LoadedLanguageModel.untrained(config, TEXT)


@pytest.mark.parametrize(
    ("prompt", "rules"), [("The i", {}), ("", {"temperature": 0.3}), ("The", {"top_k": 2, "seed": 3})]
)
def test_surprise_is_the_models_own(model: LoadedLanguageModel, prompt: str, rules: dict[str, float]) -> None:
    prompt = prompt.split()[0] if prompt and model.codec.name == "whitespace" else prompt
    steps = list(model.stream_with_surprise(prompt, 40, **rules))  # type: ignore[arg-type]
    assert prompt + "".join(part for part, _ in steps) == model.generate(prompt, 40, **rules)  # type: ignore[arg-type]
    # The same symbols again, and what a float64 copy of the model thinks of each.
    known = {"temperature": 1.0, "top_k": None, "top_p": None} | {k: v for k, v in rules.items() if k != "seed"}
    sampler = Sampler(model.codec.choices, **known)  # type: ignore[arg-type]
    ids = model.encode(prompt).tolist()
    walk = model._steps([ids], sampler, int(rules.get("seed", 0)))
    whole = [*ids, *(int(next(walk)[0]) for _ in steps)]
    double = model.model.double()
    with torch.inference_mode():
        logits = double(torch.tensor([whole]))[0][0][:, torch.from_numpy(model.codec.choices)]
    model.model.float()
    places = {int(symbol): place for place, symbol in enumerate(model.codec.choices)}
    for number, (_, bits) in enumerate(steps):
        before = len(ids) + number - 1
        if before < 0:
            assert bits is None
            continue
        expected = -logits[before].log_softmax(0)[places[whole[before + 1]]] / math.log(2)
        assert bits == pytest.approx(float(expected), abs=1e-4)
