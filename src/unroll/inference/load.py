"""From a checkpoint to a model in use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from unroll import checkpoint
from unroll.errors import CheckpointError, ConfigError
from unroll.tasks.spec import TASKS, settings_of


def load(path: str | Path, command: str | None = None) -> Any:
    """Return the model of a checkpoint, ready for use: a `LoadedClassifier`, a `LoadedLanguageModel`, or what another
    kind of task has.

        model = load("runs/imdb/2026-01-01_12-00-00/checkpoints/best.ckpt")
        model.predict(["I loved every minute."])[0].label  # 'positive'

    Args:
        path: of the file.
        command: that is to ask the model, if only models for that will do: `predict` or `generate`.

    Raises:
        CheckpointError: the file is missing, damaged, no checkpoint of this package, or its model is for another
            command; nothing in it is executed.
    """
    path = Path(path)
    content = checkpoint.load(path)
    try:
        config = settings_of(content)
        spec = TASKS[config.kind]
        if command not in (None, spec.command):
            raise CheckpointError(
                f"{path}: is a model of {config.kind}; use it by `python scripts/{spec.command}.py {path} "
                f"{spec.arguments}`"
            )
        return spec.load("model").from_checkpoint(config, content)
    except (ConfigError, ValueError, TypeError) as error:
        raise CheckpointError(f"{path}: its parts do not fit together: {error}") from error


def check_folder(folder: str, remedy: str) -> None:
    """Check that the folder for downloads and caches that a checkpoint names is in the current one, or has been used as
    one before: whoever made a checkpoint does not choose where files land.

    Raises:
        ConfigError: it is neither.
    """
    place = Path(folder)
    if not place.resolve().is_relative_to(Path.cwd()) and not (place / "cache").is_dir():
        raise ConfigError(f"the checkpoint keeps its data in {folder}, outside of the current folder; {remedy}")
