"""A small run that several tests look at."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.settings import from_dict
from unroll.config import ClassificationConfig, LanguageModelingConfig
from unroll.progress import display
from unroll.training.start import train

SMALL: dict[str, dict[str, Any]] = {
    "data": {"batch_size": 16, "max_length": 20},
    "encoder": {"hidden_size": 12, "bidirectional": True},
    "model": {"embedding_size": 12},
    "optimizer": {"learning_rate": 0.03},
    "trainer": {"max_epochs": 3, "gradient_clip_val": 0.5, "log_every_n_steps": 5, "accelerator": "cpu"},
}


@dataclass
class Finished:
    """A run that is over: what it returned, what it printed, and where it is."""

    summary: dict[str, Any]
    screen: str
    folder: Path


def small_config(reviews: Path, run_dir: Path, **groups: Any) -> ClassificationConfig | LanguageModelingConfig:
    values: dict[str, Any] = {name: dict(group) for name, group in SMALL.items()}
    values["data"] |= {"path": str(reviews), "folder": str(reviews / "work")}
    values["run_dir"] = str(run_dir)
    for name, group in groups.items():
        values[name] = values.get(name, {}) | group if isinstance(group, dict) else group
    return from_dict(values)


Runner = Callable[..., Finished]


@pytest.fixture
def run(reviews: Path, tmp_path: Path) -> Runner:
    """Train with changed settings: `run(encoder={"cell": "gru"})`."""

    def runner(**groups: Any) -> Finished:
        return finish(small_config(reviews, tmp_path / "run", **groups))

    return runner


@pytest.fixture(scope="session")
def finished(reviews: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The small run as it is."""
    return finish(small_config(reviews, tmp_path_factory.mktemp("runs") / "run"))


def finish(config: ClassificationConfig | LanguageModelingConfig) -> Finished:
    screen = io.StringIO()
    with display(Console(file=screen, width=200)):
        summary = train(config)
    assert config.run_dir is not None
    return Finished(summary, screen.getvalue(), Path(config.run_dir))
