"""What the folder of a run says of it: its settings, and whether it has ended. Reading this needs no torch."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from unroll.config import Config, flat, to_dict
from unroll.config.fields import brief
from unroll.errors import CheckpointError, ConfigError
from unroll.tasks.spec import from_dict

_PROCESSES = ("trainer.devices", "trainer.num_nodes", "trainer.strategy")

# Settings that may differ from the run's own: nothing that is computed depends on them.
FREE = (
    "checkpoint.",
    "diagnostics.",
    "data.path",
    "data.folder",
    "data.workers",
    "logger",
    "trainer.profiler",
    *_PROCESSES,
)

PRETRAINING = "pretraining"  # the folder, in a run's, of the run that it begins with

# Settings that say when a run ends. A finished run is continued by another end.
_ENDS = ("trainer.max_epochs", "trainer.max_steps", "trainer.max_time")


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
    is_saved = (run_dir / "checkpoints" / "last.ckpt").exists() or (run_dir / PRETRAINING).is_dir()
    if not is_saved and not is_complete(run_dir):
        return dataclasses.replace(config, resume=None), {}
    own = settings_in(run_dir)
    before, now = flat(to_dict(own)), flat(to_dict(config))
    keys = [key for key in now | before if key not in ("resume", "run_dir")]
    differ = {key: now.get(key) for key in keys if now.get(key) != before.get(key)}
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


def stopped_before_training(run_dir: Path) -> bool:
    """Return whether a run was stopped in its pretraining, or before it first saved after that."""
    return (run_dir / PRETRAINING).is_dir() and not (run_dir / "checkpoints" / "last.ckpt").exists()
