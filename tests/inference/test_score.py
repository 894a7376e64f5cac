"""Bits per character of a text, plain and with the model learning on, against the formulas written out."""

from __future__ import annotations

import copy
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from unroll import checkpoint
from unroll.config import OptimizerConfig
from unroll.encoders import RecurrentEncoder
from unroll.errors import CheckpointError
from unroll.inference import score as score_module
from unroll.inference.score import gradient_rms, score, score_dynamically
from unroll.models.language_model import LanguageModel
from unroll.tasks.optimization import build_optimizer


def small_model() -> LanguageModel:
    torch.manual_seed(2)
    model = LanguageModel(RecurrentEncoder("lstm", 5, 7), vocabulary_size=9)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)
    return model.eval()


def ids(count: int) -> np.ndarray[Any, np.dtype[np.int32]]:
    return np.array(random.Random(0).choices(range(1, 9), k=count), dtype=np.int32)


def test_a_text_is_one_stream_and_its_first_character_is_given() -> None:
    model, text = small_model(), ids(3000)
    figures = score(model, text)
    tensor = torch.from_numpy(text).long()
    with torch.no_grad():
        logits, _ = model.double()(tensor[None, :-1])
    nats = float(F.cross_entropy(logits[0], tensor[1:]))
    assert figures["bpc"] == pytest.approx(nats / math.log(2), abs=1e-6)
    assert figures["characters"] == 2999
    assert figures["unknown"] == int((text == 1).sum()) > 0


def by_hand(model: LanguageModel, text: Any, rms: dict[str, torch.Tensor]) -> float:
    """Krause et al. 2018, equation by equation, with plain lists of tensors."""
    segment, rate, decay = score_module.SEGMENT, score_module.LEARNING_RATE, score_module.DECAY
    trained = {name: p.detach().clone() for name, p in model.named_parameters()}
    model = copy.deepcopy(model)
    mean = sum(float(r.sum()) for r in rms.values()) / sum(r.numel() for r in rms.values())
    tensor, state, nats = torch.from_numpy(text).long(), None, 0.0
    for start in range(0, len(text) - 1, segment):
        x, y = tensor[start : start + segment][: len(text) - 1 - start], tensor[start + 1 : start + segment + 1]
        logits, state = model(x[None], state)
        state = tuple(part.detach() for part in state)
        loss = F.cross_entropy(logits[0], y)
        nats += float(loss) * len(y)
        model.zero_grad()
        loss.backward()
        for name, p in model.named_parameters():
            moved = p.data - rate * p.grad / (rms[name] + 1e-3 * mean)
            share = torch.clamp(decay * rms[name] / mean, max=1)
            p.data = moved + share * (trained[name] - moved)
    return nats / (len(text) - 1) / math.log(2)


def test_dynamic_evaluation_is_the_papers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(score_module, "LEARNING_RATE", 0.02)
    monkeypatch.setattr(score_module, "DECAY", 0.3)
    model, text = small_model().double(), ids(300)
    rms = {name: torch.rand_like(p) for name, p in model.named_parameters()}
    figures = score_dynamically(model, text, rms)
    assert figures["dynamic_bpc"] == pytest.approx(by_hand(model, text, rms), abs=1e-9)
    assert "bpc" not in figures
    assert figures["characters"] == 299


def test_dynamic_evaluation_learns_a_text_and_leaves_the_model_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(score_module, "LEARNING_RATE", 0.3)
    monkeypatch.setattr(score_module, "SEGMENT", 32)
    model, text = small_model(), np.array([2, 3, 4, 5] * 300, dtype=np.int32)
    before = {name: p.clone() for name, p in model.named_parameters()}
    rms = {name: torch.ones_like(p) for name, p in model.named_parameters()}
    plain = score(model, text)["bpc"]
    assert score_dynamically(model, text, rms)["dynamic_bpc"] < plain - 1
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())


def test_without_a_step_it_is_the_plain_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(score_module, "LEARNING_RATE", 0.0)
    model, text = small_model(), ids(200)
    rms = {name: torch.ones_like(p) for name, p in model.named_parameters()}
    assert score_dynamically(model, text, rms)["dynamic_bpc"] == pytest.approx(score(model, text)["bpc"], abs=1e-5)


def saved(path: Path, optimizer_states: Any) -> Path:
    content = {
        "format": checkpoint.FORMAT,
        "task": "mysterious_island",
        "config": {},
        "vocabulary": [],
        "tokenizer": "characters",
    }
    data = {"source": "local", "origin": "x.txt", "fingerprint": "0"}
    checkpoint.save(
        content | {"labels": [], "data": data, "versions": {}, "state_dict": {}, "optimizer_states": optimizer_states},
        path,
    )
    return path


def test_the_statistics_are_those_that_adam_kept(tmp_path: Path) -> None:
    """With the same gradient in every step, its root mean square is its size."""
    model, config = small_model(), OptimizerConfig(name="adam", weight_decay=0.0, learning_rate=1e-9)
    optimizer = build_optimizer(model, config)
    gradients = {name: torch.randn_like(p) for name, p in model.named_parameters()}
    for _ in range(3):
        for name, parameter in model.named_parameters():
            parameter.grad = gradients[name].clone()
        optimizer.step()
    path = saved(tmp_path / "x.ckpt", [optimizer.state_dict()])
    found = gradient_rms(path, model, config)
    assert found.keys() == gradients.keys()
    for name, rms in found.items():
        torch.testing.assert_close(rms, gradients[name].abs(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("states", [None, [], [{}], [{"state": {}, "param_groups": []}], "text"])
def test_statistics_that_are_missing_are_named(tmp_path: Path, states: Any) -> None:
    with pytest.raises(CheckpointError, match="holds no gradient statistics"):
        gradient_rms(saved(tmp_path / "x.ckpt", states), small_model(), OptimizerConfig(name="adam", weight_decay=0.0))


def test_statistics_of_other_shapes_are_refused(tmp_path: Path) -> None:
    model, config = small_model(), OptimizerConfig(name="adam", weight_decay=0.0)
    optimizer = build_optimizer(model, config)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    states = optimizer.state_dict()
    states["state"][0]["exp_avg_sq"] = torch.zeros(2, 2)
    with pytest.raises(CheckpointError, match="holds no gradient statistics"):
        gradient_rms(saved(tmp_path / "x.ckpt", [states]), model, config)
