"""A run that begins with pretraining: the same as two runs, resumed anywhere, and refused in one line."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.settings import from_dict
from tests.training.resuming import Killed, Killer, assert_same, assert_same_run, end_at, go_on
from unroll import checkpoint
from unroll.config import Config, OptimizerConfig, PretrainingConfig, pretraining_of
from unroll.errors import CheckpointError, ConfigError, DataError
from unroll.inference.evaluate import evaluate
from unroll.inference.load import load
from unroll.tasks.spec import load_data
from unroll.training.start import train


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Sixty labelled texts and forty without labels."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    words = [("fine", "poor")[i % 2] + f" film {'very ' * (i % 5)}number {i % 7}" for i in range(100)]
    rows = "".join(f"{text} labelled{i},{i % 2}\n" for i, text in enumerate(words[:60]))
    (folder / "train.csv").write_text("text,label\n" + rows)
    (folder / "unlabelled.csv").write_text(
        "text\n" + "".join(f"{text} other{i}\n" for i, text in enumerate(words[60:]))
    )
    return folder


def settings(corpus: Path, run_dir: Path, **groups: Any) -> Any:
    values: dict[str, Any] = {
        "data": {"path": str(corpus), "folder": str(corpus / "work"), "min_freq": 1, "unlabelled": "required"},
        "encoder": {"hidden_size": 6, "bidirectional": True},
        "model": {"embedding_size": 5, "dropout": 0.2},
        "pretraining": {"epochs": 2, "max_tokens": 60, "dropout": 0.2, "sampled_words": 8},
        "trainer": {"max_epochs": 1, "accelerator": "cpu", "log_every_n_steps": 3},
        "checkpoint": {"every_n_steps": 4, "every_n_minutes": None},
        "run_dir": str(run_dir),
    }
    for name, group in groups.items():
        values[name] = values.get(name, {}) | group if isinstance(group, dict) else group
    return from_dict(values)


def first_of(config: Any) -> Config:
    """The settings of its pretraining."""
    found = pretraining_of(config)
    assert found is not None
    return found


def test_it_reads_the_training_and_unlabelled_texts_alone(corpus: Path, tmp_path: Path) -> None:
    data = load_data(first_of(settings(corpus, tmp_path / "run")))
    held_out = {row for split in (data.val, data.test) for row in split.starts}
    assert len(data.documents) == len(data.train) + 40
    read = [data.vocabulary.decode(data.documents.document(row)) for row in range(len(data.documents))]
    counts = Counter(word for document in read for word in document)
    assert data.word_counts.tolist() == [counts[token] for token in data.vocabulary.tokens]
    held_out_words = {f"labelled{row}" for row in range(60)} - set(counts)
    assert len(held_out_words) == len(data.val) + len(data.test) == len(held_out)
    assert not held_out_words & set(data.vocabulary.tokens)
    assert all(f"other{i}" in counts for i in range(40))


def test_one_run_is_two_runs_after_each_other(corpus: Path, tmp_path: Path) -> None:
    config = settings(corpus, tmp_path / "whole")
    summary = train(config)
    train(replace(first_of(config), run_dir=str(tmp_path / "first")))
    path = tmp_path / "first" / "checkpoints" / "last.ckpt"
    second = train(settings(corpus, tmp_path / "second", pretraining={"epochs": 0}, init_from=str(path)))
    weights = [
        checkpoint.load(tmp_path / name / "checkpoints" / "last.ckpt")["state_dict"] for name in ("whole", "second")
    ]
    assert_same(*weights)
    assert summary["metrics"] == second["metrics"]
    assert summary["pretraining"]["epochs"] == 2
    assert "pretraining" not in second


def test_training_starts_from_the_pretrained_weights(corpus: Path, tmp_path: Path) -> None:
    train(settings(corpus, tmp_path / "run", optimizer={"learning_rate": 1e-12, "weight_decay": 0.0}))
    ours, theirs = (
        checkpoint.load(tmp_path / folder / "checkpoints" / "last.ckpt")["state_dict"]
        for folder in ("run", "run/pretraining")
    )
    same = [name for name in ours if name.startswith(("model.embedding", "model.encoder"))]
    assert len(same) == 9
    for name in same:
        assert torch.allclose(ours[name], theirs[name], atol=1e-9, rtol=0), name


@pytest.mark.parametrize(
    ("hook", "count"),
    [
        ("on_train_start", 1),  # nothing is saved yet
        ("on_train_batch_end", 6),  # in the pretraining
        ("on_fit_end", 1),  # it has ended, its summary is not written
        ("on_train_start", 2),  # the training has begun, and has saved nothing
    ],
)
def test_it_resumes_anywhere(
    corpus: Path, tmp_path: Path, hook: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(settings(corpus, tmp_path / "whole"))
    end_at(settings(corpus, tmp_path / "cut"), Killer(hook, count), monkeypatch, Killed)
    resumed, _ = go_on(tmp_path / "cut")
    assert resumed["metrics"] == whole["metrics"]
    assert_same_run(tmp_path / "whole", tmp_path / "cut")
    assert_same_run(tmp_path / "whole" / "pretraining", tmp_path / "cut" / "pretraining")


def test_a_pretrained_model_in_use(corpus: Path, tmp_path: Path) -> None:
    train(settings(corpus, tmp_path / "run"))
    path = tmp_path / "run" / "pretraining" / "checkpoints" / "last.ckpt"
    model = load(path)
    assert "document language model" in repr(model)
    rows = model.model.embedding.weight.detach()
    place = model.vocabulary.encode(["film"])[0]
    cosines = torch.cosine_similarity(rows, rows[place][None])
    cosines[[0, 1, place]] = -2
    assert model.nearest("film", 3)[0][0] == model.vocabulary.tokens[int(cosines.argmax())]
    with pytest.raises(DataError, match=r"'unheard' is not among the \d+ words"):
        model.nearest("unheard")
    figures = evaluate(path, corpus / "unlabelled.csv", "test")
    assert figures["perplexity"] == pytest.approx(torch.tensor(figures["loss"]).exp().item(), rel=1e-5)


def test_without_unlabelled_texts_it_reads_the_training_texts_or_refuses(corpus: Path, tmp_path: Path) -> None:
    (corpus / "unlabelled.csv").unlink()
    config = settings(corpus, tmp_path / "run", data={"unlabelled": "auto"})
    data = load_data(first_of(config))
    assert len(data.documents) == len(data.train)
    assert any("without unlabelled texts" in line for line in data.report())
    with pytest.raises(DataError, match=r"unlabelled\.\*"):
        train(settings(corpus, tmp_path / "run"))


def test_what_cannot_be_pretrained_is_refused(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"needs encoder\.num_layers=1"):
        train(settings(corpus, tmp_path / "run", encoder={"num_layers": 2}))
    with pytest.raises(ConfigError, match=r"write pretraining\.epochs=0, or init_from=null"):
        settings(corpus, tmp_path / "run", init_from="a.ckpt")
    with pytest.raises(ConfigError, match=r"write optimizer\.embedding=dense"):
        PretrainingConfig(optimizer=OptimizerConfig(embedding="rows"))
    assert not (tmp_path / "run").exists()


def test_damaged_settings_are_told_of_in_one_line(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    end_at(settings(corpus, tmp_path / "cut"), Killer("on_train_batch_end", 6), monkeypatch, Killed)
    for content in ("[1]", "encoder: {hidden_size: many}", "\t{"):
        (tmp_path / "cut" / "config.yaml").write_text(content)
        with pytest.raises(CheckpointError, match=r"config\.yaml: can't be read \(.+\); start a new run") as caught:
            go_on(tmp_path / "cut")
        assert "\n" not in str(caught.value)
