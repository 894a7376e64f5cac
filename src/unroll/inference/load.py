"""From a checkpoint, or an exported folder, to a model in use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from unroll import checkpoint
from unroll.commands import typed
from unroll.config.fields import brief
from unroll.errors import CheckpointError, ConfigError, UserError
from unroll.inference import folder
from unroll.inference.engines import ENGINES
from unroll.tasks.spec import TASKS, settings_of

LONGEST_REASON = 300  # characters


def load(path: str | Path, command: str | None = None, engine: str = "auto") -> Any:
    """Return the model of a checkpoint or of an exported folder, ready for use: a `LoadedClassifier`, a
    `LoadedLanguageModel`, or what another kind of task has.

        model = load("runs/imdb/2026-01-01_12-00-00/checkpoints/best.ckpt")
        model.predict(["I loved every minute."])[0].label  # 'positive'

    Args:
        path: of the file, or of the folder; `novel` is the language model that the package brings along.
        command: `predict` or `generate`, if only a model for this command will do.
        engine: what computes, one of `unroll.inference.engines.ENGINES`. `auto` takes the fastest that is installed. An
            exported folder then needs no torch.

    Raises:
        CheckpointError: the file is missing, damaged, no checkpoint of this package, or its model is for another
            command; nothing in it is executed.
        ConfigError: there is no such engine.
        UserError: the engine is not installed, or has no form of the model.
    """
    path = folder.found(Path(path))
    return model_of(folder.read(path) if path.is_dir() else checkpoint.load(path), path, command, engine)


def model_of(content: dict[str, Any], path: Path, command: str | None = None, engine: str = "torch") -> Any:
    """Return the model of a checkpoint that has been read from `path`; see `load`."""
    if engine not in ENGINES:
        raise ConfigError(f"engine={engine[:80]}: must be one of {', '.join(ENGINES)}")
    try:
        config = settings_of(content)
        spec = TASKS[config.kind]
        if command not in (None, spec.command):
            raise CheckpointError(
                f"{path}: is a model of {config.kind}; use it by `{typed(spec.command, path)} {spec.arguments}`"
            )
        if engine not in ("auto", *spec.engines):
            raise UserError(f"{path}: a model of {config.kind} has no engine {engine}; write torch, or auto")
        choice = [engine] if len(spec.engines) > 1 else []
        return spec.load("model").from_checkpoint(config, content, *choice)
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
