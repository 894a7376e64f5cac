"""What several tests need: a small corpus whose labels can be learnt."""

from __future__ import annotations

import csv
import gc
import random
from functools import cache
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import pytest

from tests.scripts import Shell

PRAISE = ["wonderful", "moving", "superb", "delightful", "brilliant", "loved"]
BLAME = ["dull", "boring", "awful", "dreadful", "tedious", "hated"]
FILLER = ["the", "film", "was", "with", "an", "actor", "and", "story", "in", "which", "people", "speak", "of", "things"]

# What is imported stays. To look for garbage in it takes a quarter of the time in which tests are collected.
gc.disable()


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


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()
    gc.set_threshold(10_000)  # of 700: small runs make many objects and little garbage


@pytest.fixture(scope="session")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with train.csv (400 rows) and test.csv (100 rows)."""
    folder = tmp_path_factory.mktemp("reviews")
    write_reviews(folder / "train.csv", 400, seed=1)
    write_reviews(folder / "test.csv", 100, seed=2)
    return folder


# The process that hands out the tests reads this file, too; it needs no torch.


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Threads that share a core with another process wait for each other longer than small tensors take."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _alone() -> None:
    """Each test begins with the same random state, and on one thread."""
    import torch

    torch.manual_seed(0)
    torch.set_num_threads(1)


@cache
def _brevity() -> list[tuple[Any, str, Any]]:
    """Return what `_brief` replaces: TensorBoard's pictures, long samples, the search of all packages for callbacks
    that Lightning makes with each trainer, and settings that Hydra composes twice, the first time for `hydra.mode`."""

    def nothing(*_: Any, **__: Any) -> None: ...

    def no_packages(_: str) -> list[Any]:
        return []

    callbacks, connectors = "unroll.training.callbacks", "lightning.pytorch.trainer.connectors"
    return [
        (resolve_name("torch.utils.tensorboard:SummaryWriter"), "add_figure", nothing),
        (resolve_name(f"{callbacks}.pictures"), "confusion_matrix", nothing),
        (resolve_name(f"{callbacks}.pictures"), "precision_recall", nothing),
        (resolve_name(f"{callbacks}.recurrence"), "draw", nothing),
        (resolve_name(f"{callbacks}.samples"), "LENGTH", 20),
        (resolve_name(f"{connectors}.callback_connector"), "_load_external_callbacks", no_packages),
        (resolve_name("hydra._internal.hydra:Hydra"), "get_mode", nothing),
    ]


@pytest.fixture(autouse=True)
def _brief(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out what takes most of a small run's time. Tests that look at these are marked `pictures`."""
    if request.node.get_closest_marker("pictures") is None:
        for place, name, value in _brevity():
            monkeypatch.setattr(place, name, value)


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Shell:
    """Run a script in an empty folder: `shell("train.py", "task=imdb")`."""
    return Shell(monkeypatch, capsys, tmp_path)
