"""Runs with adversarial losses, entropy and unlabelled documents; and settings that make no sense."""

from __future__ import annotations

import random
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributions import Categorical
from torch.nn import functional as F

from tests.conftest import review
from tests.settings import from_dict
from tests.tasks.test_classification_data import write
from tests.training.conftest import small_config
from tests.training.resuming import assert_same_run, cut_off, go_on
from unroll.errors import ConfigError, DataError
from unroll.tasks.classification import Classification
from unroll.tasks.spec import load_data
from unroll.training.start import train

ALL: dict[str, Any] = {"adversarial": 0.5, "virtual": 0.7, "entropy": 0.3, "epsilon": 2.0}


@pytest.fixture
def with_unlabelled(reviews: Path, tmp_path: Path) -> Path:
    """The folder of reviews, and 30 more without labels."""
    folder = tmp_path / "more"
    folder.mkdir()
    for name in ("train.csv", "test.csv"):
        shutil.copy(reviews / name, folder)
    random_ = random.Random(5)
    texts = "".join(f"{review(i % 2 == 0, random_)}\n" for i in range(30))
    (folder / "unlabelled.csv").write_text(f"text\n{texts}")
    return folder


def mixed(folder: Path, run_dir: Path) -> Any:
    return small_config(
        folder,
        run_dir,
        data={"limit": 80, "unlabelled": "required", "unlabelled_batch_size": 8, "class_weights": "balanced"},
        model={"dropout": 0.3, "word_dropout": 0.1},
        objective=ALL,
        trainer={"max_epochs": 2, "log_every_n_steps": 6, "precision": "bf16-mixed"},
        checkpoint={"every_n_steps": 5, "every_n_minutes": None},
    )


def test_a_run_resumes_bit_for_bit(with_unlabelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten steps; the labelled documents' second epoch begins amid the second of the others."""
    train(mixed(with_unlabelled, tmp_path / "whole"))
    cut_off(mixed(with_unlabelled, tmp_path / "cut"), "on_train_batch_end", 8, monkeypatch)
    go_on(tmp_path / "cut")
    assert_same_run(tmp_path / "whole", tmp_path / "cut")


def test_the_loss_is_the_weighted_sum(with_unlabelled: Path, tmp_path: Path) -> None:
    config = mixed(with_unlabelled, tmp_path)
    data = load_data(config)
    module = Classification(config, data, total_steps=10)
    batch = next(iter(data.train_dataloader()))
    assert (len(batch.labelled.labels), len(batch.unlabelled.labels)) == (16, 8)
    module.eval()  # without dropout
    figures = module.training_step(batch, 0)
    assert figures["adversarial_dropped"] == figures["virtual_dropped"] == 0
    logits = module.model(batch.labelled.ids, batch.labelled.lengths)
    expected = F.cross_entropy(logits, batch.labelled.labels, module.class_weights)
    for name in ("adversarial", "virtual", "entropy"):
        assert figures[name] > 0
        expected = expected + ALL[name] * figures[name]
    torch.testing.assert_close(figures["loss"], expected)
    everything = torch.cat([logits, module.model(batch.unlabelled.ids, batch.unlabelled.lengths)])
    torch.testing.assert_close(figures["entropy"], Categorical(logits=everything).entropy().mean())


def complaint(kind: type[Exception], **groups: Any) -> str:
    with pytest.raises(kind) as error:
        load_data(from_dict(groups))
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("name", ["adversarial", "virtual", "entropy"])
def test_a_negative_weight(name: str) -> None:
    assert complaint(ConfigError, objective={name: -1.0}) == f"objective.{name}=-1.0: must be at least 0"


@pytest.mark.parametrize("name", ["epsilon", "xi"])
def test_a_change_of_no_size(name: str) -> None:
    assert complaint(ConfigError, objective={name: 0.0}) == f"objective.{name}=0.0: must be at least 1e-06"


def test_unlabelled_documents_that_nothing_learns_from(with_unlabelled: Path) -> None:
    message = complaint(
        ConfigError, data={"unlabelled": "required", "unlabelled_batch_size": 8}, objective={"adversarial": 1.0}
    )
    assert message == (
        "data.unlabelled_batch_size needs a loss without labels; write objective.virtual=1 or objective.entropy=1, "
        "or data.unlabelled_batch_size=null"
    )


def test_unlabelled_documents_that_nobody_asked_for() -> None:
    message = complaint(ConfigError, data={"unlabelled_batch_size": 8}, objective={"virtual": 1.0})
    assert message == "data.unlabelled_batch_size needs texts without labels; write data.unlabelled=required"


def test_unlabelled_documents_that_are_not_there(reviews: Path, tmp_path: Path) -> None:
    data = {"path": str(reviews), "folder": str(tmp_path), "unlabelled": "required", "unlabelled_batch_size": 8}
    message = complaint(DataError, data=data, objective={"virtual": 1.0})
    assert re.fullmatch(rf"{reviews}: no unlabelled\.\* table there; put train\.\* and unlabelled\.\* .*", message)


def test_one_class(tmp_path: Path) -> None:
    path = write(tmp_path / "all.csv", [(f"w{i}", "good") for i in range(20)])
    data = {"path": str(path), "folder": str(tmp_path)}
    message = complaint(DataError, data=data, objective={"virtual": 1.0})
    assert message.endswith("every row has the label 'good'; a classifier needs two classes or more")
