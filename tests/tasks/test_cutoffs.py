"""A language model with an adaptive softmax, from training to use."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from tests.tasks.conftest import MakeTask, novel_config
from unroll import checkpoint
from unroll.diagnostics.explain import surprise
from unroll.errors import CheckpointError, ConfigError
from unroll.inference.evaluate import evaluate
from unroll.inference.load import load
from unroll.training.init_from import initialise
from unroll.training.start import train

TEXT = "".join(random.Random(1).choices(["the ", "sea ", "island ", "and ", "captain ", "wind\n"], k=1500))
SETTINGS: dict[str, Any] = {
    "data__tokenizer": "whitespace",
    "model__cutoffs": [4, 6],
    "encoder__hidden_size": 16,
}


def made(make_task: MakeTask, text: str = TEXT, **settings: Any) -> Any:
    task, data = make_task(text, **SETTINGS | settings)
    return task, data


def test_training_and_evaluation_have_the_loss_of_all_log_probabilities(make_task: MakeTask) -> None:
    task, data = made(make_task, model__input_dropout=0.0, model__output_dropout=0.0)
    batch = next(iter(data.train_dataloader()))
    figures = task.training_step(batch, 0)
    assert figures.keys() == {"loss", "bpc"}
    with torch.no_grad():
        logarithms = task.model(batch.ids)[0].double()
    nats = -logarithms.gather(2, batch.targets[..., None]).mean()
    assert figures["loss"].item() == pytest.approx(nats.item(), abs=1e-6)
    assert figures["bpc"].item() == pytest.approx(nats.item() / math.log(2) / data.train.size.characters, abs=1e-6)
    task.eval().evaluate(batch, "val")
    found = task.metrics["val"][0].compute()
    assert found["loss"] == pytest.approx(nats.item(), abs=1e-6)
    assert found["accuracy"] == pytest.approx((logarithms.argmax(-1) == batch.targets).double().mean().item())


def test_penalties_reach_the_encoder(make_task: MakeTask) -> None:
    task, data = made(make_task, model__activation_penalty=2.0)
    figures = task.training_step(next(iter(data.train_dataloader())), 0)
    assert figures["penalty"] > 0 and figures.keys() == {"loss", "bpc", "penalty"}


def test_a_cutoff_beyond_the_vocabulary_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    config = novel_config(path, **SETTINGS | {"model__cutoffs": [4, 10]})
    config.run_dir = str(tmp_path / "run")
    with pytest.raises(
        ConfigError, match=r"model\.cutoffs=\[4, 10\]: must be below 10, the vocabulary's size"
    ) as caught:
        train(config)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_trained_model_is_used_as_any_other(tmp_path: Path, precision: str) -> None:
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    config = novel_config(path, **SETTINGS | {"optimizer__learning_rate": 0.02, "trainer__precision": precision})
    config.run_dir = str(tmp_path / "run")
    summary = train(config)
    best = Path(summary["checkpoints"]["best"])
    assert summary["metrics"]["test/loss"] < math.log(6) + 0.1  # six words in random order; untrained: log(10)
    found = evaluate(best, None, "test")
    assert found["loss"] == pytest.approx(summary["metrics"]["test/loss"], rel=1e-5)
    mixed = evaluate(best, None, "test", mix=True, dynamic=True)
    assert math.isfinite(mixed["dynamic_mixed_loss"]) and mixed["dynamic_loss"] < math.log(6) + 0.1
    model = load(best)
    text = model.generate("the sea ", 200, seed=1)
    assert set(text.split()[:-1]) <= {*TEXT.split()}
    assert len({*text.split()[:-1]}) == 6  # of the head and both clusters
    page = surprise(model, "the wind and the captain")
    ids = torch.from_numpy(model.encode("the wind and the captain")).long()[None]
    logits, _ = model.model(ids[:, :-1])
    bits = F.cross_entropy(logits[0].double(), ids[0, 1:], reduction="none") / math.log(2)
    assert page.bits == pytest.approx(bits.tolist(), rel=1e-5)


def test_a_checkpoint_with_other_cutoffs_is_refused(make_task: MakeTask, tmp_path: Path) -> None:
    task, _ = made(make_task)
    path = saved(task, tmp_path / "model.ckpt")
    content: Any = checkpoint.load(path)
    load(path)
    for cutoffs, message in [([4, 99], "must be below 10"), ([4, 7], "is "), ([], "missing|not expected")]:
        content["config"]["model"]["cutoffs"] = cutoffs
        checkpoint.save(content, path)
        with pytest.raises(CheckpointError, match=message):
            load(path)


def saved(task: Any, path: Path) -> Path:
    content: dict[str, Any] = {"state_dict": {f"model.{name}": w for name, w in task.model.state_dict().items()}}
    task.on_save_checkpoint(content)
    checkpoint.save(content, path)
    return path


def test_clusters_are_taken_over_where_their_tokens_are_the_same(make_task: MakeTask, tmp_path: Path) -> None:
    task, _ = made(make_task)
    path = saved(task, tmp_path / "model.ckpt")
    theirs = task.model.state_dict()
    for text, cutoffs, same in [
        (TEXT, [4, 6], True),
        (TEXT.replace("sea", "tea"), [4, 6], False),
        (TEXT, [4, 7], False),  # its head has the same shape
        (TEXT, [5], False),  # this one's, too
    ]:
        other, data = made(make_task, text, model__cutoffs=cutoffs)
        before = {name: weight.clone() for name, weight in other.model.state_dict().items()}
        notes = initialise(other, path)
        for name, weight in other.model.state_dict().items():
            if name.startswith("adaptive."):
                assert torch.equal(weight, theirs[name] if same else before[name]), name
        row = data.vocabulary.encode(["wind"])[0]
        assert torch.equal(other.model.embedding.weight[row], theirs["embedding.weight"][task_row(task, "wind")])
        assert ("untrained, since the other run has other clusters of tokens: adaptive." in "".join(notes)) != same


def task_row(task: Any, token: str) -> int:
    return int(task.about_data["vocabulary"].index(token))
