"""What several tests need: a small corpus whose labels can be learnt."""

from __future__ import annotations

import csv
import random
from pathlib import Path

import pytest
import torch

from tests.scripts import Shell

PRAISE = ["wonderful", "moving", "superb", "delightful", "brilliant", "loved"]
BLAME = ["dull", "boring", "awful", "dreadful", "tedious", "hated"]
FILLER = ["the", "film", "was", "with", "an", "actor", "and", "story", "in", "which", "people", "speak", "of", "things"]


def review(good: bool, random_: random.Random) -> str:
    words = random_.choices(FILLER, k=random_.randint(3, 25)) + random_.choices(PRAISE if good else BLAME, k=3)
    random_.shuffle(words)
    return " ".join(words)


def write_reviews(path: Path, count: int, seed: int = 0) -> Path:
    """A csv of `count` reviews, half of them labelled positive."""
    random_ = random.Random(seed)
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["text", "label"])
        rows.writerows([review(i % 2 == 0, random_), "good" if i % 2 == 0 else "bad"] for i in range(count))
    return path


@pytest.fixture(scope="session")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with train.csv (400 rows) and test.csv (100 rows)."""
    folder = tmp_path_factory.mktemp("reviews")
    write_reviews(folder / "train.csv", 400, seed=1)
    write_reviews(folder / "test.csv", 100, seed=2)
    return folder


# Threads that share a core with another process wait for each other longer than small tensors take.
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _alone() -> None:
    """Each test begins with the same random state, and on one thread."""
    torch.manual_seed(0)
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _brief(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out what takes most of a small run's time: TensorBoard's pictures, long samples, and settings that Hydra
    composes twice, the first time for `hydra.mode`. Tests that look at these are marked `pictures`."""
    if request.node.get_closest_marker("pictures") is None:
        monkeypatch.setattr("torch.utils.tensorboard.SummaryWriter.add_figure", lambda *_: None)
        for name in ("pictures.confusion_matrix", "pictures.precision_recall", "recurrence.draw"):
            monkeypatch.setattr(f"unroll.training.callbacks.{name}", lambda *_: None)
        monkeypatch.setattr("unroll.training.callbacks.samples.LENGTH", 20)
        monkeypatch.setattr("hydra._internal.hydra.Hydra.get_mode", lambda *_, **__: None)


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Shell:
    """Run a script in an empty folder: `shell("train.py", "task=imdb")`."""
    return Shell(monkeypatch, capsys, tmp_path)
