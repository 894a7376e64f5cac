"""Resuming a run: finding its last good checkpoint, and checking that everything is as it was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import unroll
from unroll import checkpoint, durable, progress
from unroll.config.fields import brief
from unroll.errors import CheckpointError, ConfigError
from unroll.inference.load import check_folder
from unroll.tasks.data import TaskData
from unroll.tasks.spec import settings_of
from unroll.training.saved_run import changed, ends, is_complete
from unroll.training.saved_state import check_state

# The entries that resuming needs, and their types; `check_state` looks into them.
_SCHEMA: dict[str, type] = {
    "loops": dict,
    "callbacks": dict,
    "optimizer_states": list,
    "lr_schedulers": list,
    "global_step": int,
    "random": dict,
    "versions.unroll": str,
}


@dataclass(frozen=True)
class Start:
    """Where a run is resumed."""

    path: Path  # of the checkpoint
    config: Any
    step: int  # optimiser steps done
    csv_rows: int | None  # written by then; None if it was saved without logger=csv
    about: dict[str, Any]  # what `about` of the data gave, among others; no tensors
    data: dict[str, Any]  # as `describe` of the data gave it
    extends: bool  # whether the run had finished, and is continued by another end
    notes: tuple[str, ...]  # what to say of it


def find_start(run_dir: Path, changes: Mapping[str, Any]) -> Start:
    """Read where a run stopped. Where `last.ckpt` is damaged a line says so, and the one before it is taken.

    Args:
        run_dir: the run's folder.
        changes: settings that were given anew, by dotted key. With another end (`trainer.max_epochs`, `max_steps`,
            `max_time`) a finished run is continued.

    Raises:
        CheckpointError: neither can be used, or they are another version's.
        ConfigError: the run is complete, or a setting is not what it was, and what was computed depends on it.
    """
    has_ended, extends = is_complete(run_dir), ends(changes)
    if has_ended and not extends:
        raise ConfigError(
            f"the run in {run_dir} is complete; continue it by another end, as in trainer.max_epochs=10, or start "
            "a new run"
        )
    folder = run_dir / "checkpoints"
    for place in (run_dir, folder):
        durable.clear(place, seconds=0)
    path = folder / "last.ckpt"
    try:
        content = _load(path)
    except CheckpointError as error:
        previous = folder / "previous.ckpt"
        if not previous.exists():
            raise
        progress.say(f"{error}; resuming from {previous}")
        path, content = previous, _load(previous)
    if content["format"] != checkpoint.FORMAT:
        raise CheckpointError(
            f"{path}: has format {content['format']}, and this version resumes {checkpoint.FORMAT}; start a new run "
            f"with init_from={path}"
        )
    theirs = content["versions"]["unroll"][:80]
    if theirs.partition(".")[0] != unroll.__version__.partition(".")[0]:
        raise CheckpointError(
            f"{path}: was saved by unroll {theirs}, and this is {unroll.__version__}; resume with that version, or "
            f"start a new run with init_from={path}"
        )
    check_state(content, path)
    before = settings_of(content)
    config = changed(before, run_dir, changes)
    if "data.folder" not in changes:
        check_folder(config.data.folder, "give it anew, as in data.folder=data")
    notes = [f"resuming from step {content['global_step']:,} ({path})"]
    optimizer = config.optimizer
    if extends and (optimizer.schedule != "constant" or optimizer.warmup_fraction):
        notes.append(
            f"optimizer.schedule={optimizer.schedule} is drawn anew over the new number of steps: the learning rate "
            "may leap. Only a constant schedule without warm-up gives what a run of this length would have given"
        )
    return Start(
        path=path,
        config=config,
        step=content["global_step"],
        csv_rows=content.get("csv_rows"),
        about={name: value for name, value in content.items() if _is_plain(value)},
        data=content["data"],
        extends=extends and content["callbacks"]["Checkpointing"]["finished"],
        notes=tuple(notes),
    )


def _is_plain(value: Any) -> bool:
    """Return whether a value holds no tensor."""
    if isinstance(value, dict | list | tuple):
        return all(map(_is_plain, value.values() if isinstance(value, dict) else value))
    return isinstance(value, str | int | float | None)


def _load(path: Path) -> dict[str, Any]:
    content = checkpoint.load(path)
    try:
        for name, kind in _SCHEMA.items():
            checkpoint.entry(content, name, kind)
    except ValueError as error:
        raise CheckpointError(f"{path}: can't be resumed; {error}") from error
    return content


def check_data(start: Start, data: TaskData) -> None:
    """Compare the data with that of the run.

    Raises:
        CheckpointError: it is another corpus, or makes another vocabulary; the message names both fingerprints.
    """
    ours = data.describe()
    for name in ("fingerprint", "train", "val", "test"):
        if ours[name] != start.data.get(name):
            theirs = brief(start.data.get(name))
            raise CheckpointError(
                f"{start.path}: was trained on another corpus: its data's {name} is {theirs}, that of {data.origin} is "
                f"{ours[name]}; give data.path=… of the same text, or start a new run"
            )
    for name, value in data.about().items():
        if start.about.get(name) != value:
            raise CheckpointError(f"{start.path}: has another {name} than {data.origin} makes; start a new run")
