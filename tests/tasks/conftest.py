"""A text, and its data, settings and tasks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.settings import from_dict
from unroll.config import LanguageModelingConfig
from unroll.tasks.language_modeling import LanguageModeling
from unroll.tasks.language_modeling_data import LanguageModelingData
from unroll.tasks.spec import load_data

MakeTask = Callable[..., tuple[LanguageModeling, LanguageModelingData]]


def novel_config(path: Path, **settings: Any) -> LanguageModelingConfig:
    """Settings of a small language model; `encoder__cell="gru"` sets encoder.cell."""
    values: dict[str, Any] = {
        "task": "mysterious_island",
        "data": {"path": str(path), "batch_size": 3},
        "model": {"embedding_size": 5},
        "encoder": {"hidden_size": 6},
        "tbptt": {"window": 8},
        "trainer": {"max_epochs": 1, "accelerator": "cpu", "precision": "32-true"},
    }
    for name, value in settings.items():
        group, _, key = name.partition("__")
        values.setdefault(group, {})[key] = value
    config = from_dict(values)
    assert isinstance(config, LanguageModelingConfig)
    return config


@pytest.fixture
def make_task(tmp_path: Path) -> MakeTask:
    """Return a function of a text and settings."""

    def make(text: str, **settings: Any) -> tuple[LanguageModeling, LanguageModelingData]:
        path = tmp_path / "text.txt"
        path.write_text(text)
        config = novel_config(path, **settings)
        data = load_data(config)
        return LanguageModeling(config, data, total_steps=10), data

    return make
