"""Resuming a run: finding its last good checkpoint, and checking that everything is as it was."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

import unroll
from unroll import checkpoint, durable, progress
from unroll.config import Config, flat, to_dict
from unroll.config.fields import brief
from unroll.errors import CheckpointError, ConfigError
from unroll.inference.load import check_folder
from unroll.tasks.data import TaskData
from unroll.tasks.spec import from_dict, settings_of
from unroll.training.saved_state import check_state

# Settings that may differ from the run's own: nothing that is computed depends on them.
FREE = ("checkpoint.", "diagnostics.", "data.path", "data.folder", "data.workers", "trainer.profiler")

PRETRAINING = "pretraining"  # the folder, in a run's, of the run that it begins with

# Settings that say when a run ends. A finished run is continued by another end.
_ENDS = ("trainer.max_epochs", "trainer.max_steps", "trainer.max_time")

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
    about: dict[str, Any]  # what `about` of the data gave, among others
    data: dict[str, Any]  # as `describe` of the data gave it
    extends: bool  # whether the run had finished
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
        about={name: value for name, value in content.items() if isinstance(value, list | str)},
        data=content["data"],
        extends=has_ended,
        notes=tuple(notes),
    )


def automatic(config: Config) -> tuple[Config, dict[str, Any]]:
    """Return what `resume=auto` stands for: the settings of a new run while nothing is saved in `run_dir`, else those
    that resume it, and the settings that differ from the run's own, by dotted key.

    Raises:
        CheckpointError: the settings that are there can't be read.
        ConfigError: no `run_dir` is given, or a setting is not what it was, and what was computed depends on it.
    """
    if config.run_dir is None:
        raise ConfigError("resume=auto needs run_dir=DIR, the folder of the run to start or to resume")
    run_dir = Path(config.run_dir)
    if not (run_dir / "checkpoints" / "last.ckpt").exists() and not (run_dir / PRETRAINING).is_dir():
        return dataclasses.replace(config, resume=None), {}
    own = settings_in(run_dir)
    before, now = flat(to_dict(own)), flat(to_dict(config))
    differ = {key: value for key, value in now.items() if value != before.get(key) and key not in ("resume", "run_dir")}
    changed(own, run_dir, differ)
    return dataclasses.replace(config, resume=str(run_dir), run_dir=None), differ


def settings_in(run_dir: Path) -> Any:
    """Return the settings that a run began with. Raises CheckpointError where they can't be read."""
    path = run_dir / "config.yaml"
    try:
        return from_dict(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, AttributeError, yaml.YAMLError, ConfigError) as error:
        reason = str(error).partition("\n")[0][:200]
        raise CheckpointError(f"{path}: can't be read ({reason}); start a new run") from error


def ends(changes: Mapping[str, Any]) -> bool:
    """Return whether settings that were given anew say when the run ends."""
    return any(key in _ENDS for key in changes)


def is_complete(run_dir: Path) -> bool:
    """Return whether the run in a folder has ended by itself."""
    try:
        summary = json.loads((run_dir / "summary.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(summary, dict) and summary.get("status") == "completed"


def _load(path: Path) -> dict[str, Any]:
    content = checkpoint.load(path)
    try:
        for name, kind in _SCHEMA.items():
            checkpoint.entry(content, name, kind)
    except ValueError as error:
        raise CheckpointError(f"{path}: can't be resumed; {error}") from error
    return content


def changed(config: Any, run_dir: Path, changes: Mapping[str, Any]) -> Any:
    """Return a run's settings with `changes`. Raises ConfigError where one may not change."""
    values = to_dict(config)
    for key, value in changes.items():
        *groups, name = key.split(".")
        group = values
        for part in groups:
            group = group.get(part, {})
        if name not in group:
            raise ConfigError(f"there is no setting '{key}' in {run_dir}; leave it out")
        if group[name] != value and not key.startswith((*FREE, *_ENDS)):
            raise ConfigError(
                f"{key} is {brief(group[name])} in {run_dir} and stays so when the run is resumed; leave {key}={value} "
                "out, or start a new run"
            )
        group[name] = value
    return dataclasses.replace(from_dict(values), run_dir=str(run_dir))


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
