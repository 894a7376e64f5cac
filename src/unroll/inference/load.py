"""From a checkpoint to a model in use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from unroll import checkpoint
from unroll.commands import typed
from unroll.config.fields import brief
from unroll.errors import CheckpointError, ConfigError
from unroll.tasks.spec import TASKS, settings_of

LONGEST_REASON = 300  # characters


def load(path: str | Path, command: str | None = None) -> Any:
    """Return the model of a checkpoint, ready for use: a `LoadedClassifier`, a `LoadedLanguageModel`, or what another
    kind of task has.

        model = load("runs/imdb/2026-01-01_12-00-00/checkpoints/best.ckpt")
        model.predict(["I loved every minute."])[0].label  # 'positive'

    Args:
        path: of the file.
        command: `predict` or `generate`, if only a model for this command will do.

    Raises:
        CheckpointError: the file is missing, damaged, no checkpoint of this package, or its model is for another
            command; nothing in it is executed.
    """
    path = Path(path)
    return model_of(checkpoint.load(path), path, command)


def model_of(content: dict[str, Any], path: Path, command: str | None = None) -> Any:
    """Return the model of a checkpoint that has been read from `path`; see `load`."""
    try:
        config = settings_of(content)
        spec = TASKS[config.kind]
        if command not in (None, spec.command):
            raise CheckpointError(
                f"{path}: is a model of {config.kind}; use it by `{typed(spec.command, path)} {spec.arguments}`"
            )
        return spec.load("model").from_checkpoint(config, content)
    except (ConfigError, ValueError, TypeError) as error:
        raise CheckpointError(f"{path}: its parts do not fit together: {str(error)[:LONGEST_REASON]}") from error


def check_folder(folder: str, remedy: str) -> None:
    """Check the folder for downloads and caches that a checkpoint names. It must be in the current folder, or hold a
    `cache` already: who made a checkpoint must not choose where files land.

    Raises:
        ConfigError: it is neither.
    """
    place = Path(folder)
    if not place.resolve().is_relative_to(Path.cwd()) and not (place / "cache").is_dir():
        raise ConfigError(f"the checkpoint keeps its data in {brief(folder)}, outside of the current folder; {remedy}")
