"""Runs that are continued after their end, that start from another's weights, and that are shorter than an epoch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import write_reviews
from tests.training.boards import events
from tests.training.conftest import Finished, Runner, small_config
from tests.training.resuming import assert_same, go_on, imdb, novel
from unroll import checkpoint
from unroll.errors import CheckpointError, ConfigError
from unroll.tasks.spec import load_data
from unroll.training.init_from import initialise
from unroll.training.run import build_module
from unroll.training.start import train

PARTS = ("state_dict", "current_model_state", "optimizer_states", "lr_schedulers", "random", "carried", "global_step")
CONSTANT = {"schedule": "constant", "learning_rate": 0.03}


def assert_same_end(whole: Path, continued: Path) -> None:
    """The same weights, optimiser, average, state and random state; the same figures at every step."""
    one, other = (checkpoint.load(folder / "checkpoints" / "last.ckpt") for folder in (whole, continued))
    assert_same({part: one.get(part) for part in PARTS}, {part: other.get(part) for part in PARTS})
    boards = [events(folder) for folder in (whole, continued)]
    tags = [tag for tag in boards[0].Tags()["scalars"] if tag.startswith(("train/", "val/")) and "second" not in tag]
    assert len(tags) > 8
    for tag in tags:
        points = [{point.step: point.value for point in board.Scalars(tag)} for board in boards]
        shared = points[0].keys() & points[1].keys()  # the first run logged where it ended, too
        assert shared
        assert [points[0][step] for step in shared] == [points[1][step] for step in shared], tag


@pytest.mark.parametrize("ema", [None, 0.9])
def test_a_finished_run_on_documents_is_continued_to_what_a_longer_one_is(
    reviews: Path, tmp_path: Path, ema: float | None
) -> None:
    settings: dict[str, Any] = {"optimizer": CONSTANT | {"ema_decay": ema}}
    for name, epochs in (("whole", 3), ("first", 1)):
        config = imdb(reviews, tmp_path / name, **settings, trainer={"max_epochs": epochs, "log_every_n_steps": 6})
        train(config)
    _, screen = go_on(tmp_path / "first", **{"trainer.max_epochs": 3})
    assert "resuming from step 12" in screen
    assert_same_end(tmp_path / "whole", tmp_path / "first")


def test_a_finished_run_on_a_text_is_continued_to_what_a_longer_one_is(tmp_path: Path) -> None:
    settings = {"optimizer__schedule": "constant"}
    for name, epochs in (("whole", 3), ("first", 2)):
        train(novel(tmp_path, tmp_path / name, **settings, trainer__max_epochs=epochs))
    go_on(tmp_path / "first", **{"trainer.max_epochs": 3})
    assert_same_end(tmp_path / "whole", tmp_path / "first")


def by_steps(reviews: Path, folder: Path, steps: int) -> Path:
    train(imdb(reviews, folder, optimizer=CONSTANT, trainer={"max_steps": steps, "max_epochs": None}))
    return folder


@pytest.fixture(scope="module")
def of_24_steps(reviews: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return by_steps(reviews, tmp_path_factory.mktemp("steps") / "whole", 24)


@pytest.mark.parametrize("steps", [5, 12, 16])
def test_a_run_that_ended_by_steps_is_continued_in_the_middle_of_an_epoch(
    reviews: Path, of_24_steps: Path, tmp_path: Path, steps: int
) -> None:
    first = by_steps(reviews, tmp_path / "first", steps)
    go_on(first, **{"trainer.max_steps": 24})
    assert_same_end(of_24_steps, first)


def test_a_schedule_that_knows_its_end_says_that_it_changes(reviews: Path, tmp_path: Path) -> None:
    train(imdb(reviews, tmp_path / "run", trainer={"max_epochs": 1}))
    _, screen = go_on(tmp_path / "run", **{"trainer.max_epochs": 2})
    assert "optimizer.schedule=one_cycle is drawn anew over the new number of steps" in screen


def test_a_finished_run_is_not_resumed_without_another_end(finished: Finished) -> None:
    with pytest.raises(ConfigError, match=r"is complete; continue it by another end, as in trainer\.max_epochs=10"):
        go_on(finished.folder)


def test_weights_of_another_run_follow_their_tokens(finished: Finished, tmp_path: Path) -> None:
    """The other corpus has words that the first does not, and lacks some of its."""
    path = write_reviews(tmp_path / "other.csv", 100, seed=5)
    path.write_text(path.read_text().replace("film", "novel").replace("superb", "gripping"))
    config = small_config(path, tmp_path / "run")
    config.data.folder = str(tmp_path / "data")
    data = load_data(config)
    torch.manual_seed(3)
    module = build_module(config, data)
    before = {name: weight.clone() for name, weight in module.model.state_dict().items()}
    best = Path(finished.summary["checkpoints"]["best"])
    notes = initialise(module, best)
    content = checkpoint.load(best)
    theirs = {name.removeprefix("model."): weight for name, weight in content["state_dict"].items()}
    after = module.model.state_dict()
    known = {token: row for row, token in enumerate(content["vocabulary"])}
    new = 0
    for row, token in enumerate(data.vocabulary.tokens):
        source = theirs["embedding.weight"][known[token]] if token in known else before["embedding.weight"][row]
        assert torch.equal(after["embedding.weight"][row], source), token
        new += token not in known
    assert new == 2
    others = [name for name in after if name != "embedding.weight"]
    assert all(torch.equal(after[name], theirs[name]) for name in others)
    size = len(data.vocabulary)
    assert f"by token, {size - 2} of {size} that are in both vocabularies: embedding.weight" in notes[1]


def test_what_does_not_fit_is_named_and_nothing_that_fits_is_refused(
    finished: Finished, run: Runner, tmp_path: Path
) -> None:
    best = finished.summary["checkpoints"]["best"]
    done = run(init_from=best, encoder={"hidden_size": 9}, trainer={"max_epochs": 1})
    assert f"initialised from {best}" in done.screen
    assert "untrained, for want of a weight of this name and shape: encoder.weight_ih_l0" in done.screen
    other = small_config(Path(finished.summary["data"]["origin"]), tmp_path / "none", init_from=best)
    module = build_module(other, load_data(other))
    content = checkpoint.load(Path(best))
    checkpoint.save(content | {"state_dict": {"model.else": torch.zeros(1)}}, tmp_path / "else.ckpt")
    with pytest.raises(CheckpointError, match="none of its weights fits this model"):
        initialise(module, tmp_path / "else.ckpt")


def test_a_run_that_starts_from_another_begins_as_good(finished: Finished, run: Runner) -> None:
    best = finished.summary["checkpoints"]["best"]
    tuned = run(init_from=best, trainer={"max_steps": 1}, optimizer={"learning_rate": 1e-9})
    assert tuned.summary["metrics"]["test/loss"] == pytest.approx(finished.summary["metrics"]["test/loss"], abs=1e-4)


def test_a_run_shorter_than_an_epoch_is_validated_and_has_a_best_checkpoint(run: Runner) -> None:
    done = run(trainer={"max_steps": 4})
    assert done.summary["checkpoints"]["best"] is not None
    assert "val/accuracy" in done.summary["metrics"]
    assert "val/accuracy" in events(done.folder).Tags()["scalars"]


def test_averaged_weights_are_float64_where_the_weights_are(run: Runner) -> None:
    """Swapped in and out of validation, the trained weights stay what they are without an average."""
    trainer = {"precision": "64-true", "max_epochs": 2}
    averaged = run(trainer=trainer, optimizer={"ema_decay": 0.9})
    content = checkpoint.load(averaged.folder / "checkpoints" / "last.ckpt")
    averaged.folder.rename(averaged.folder.with_name("averaged"))
    plain = checkpoint.load(run(trainer=trainer).folder / "checkpoints" / "last.ckpt")
    for name, weight in content["current_model_state"].items():
        assert weight.dtype == content["state_dict"][name].dtype == torch.float64
        assert torch.equal(weight, plain["state_dict"][name]), name
