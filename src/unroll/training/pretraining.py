"""A run that begins with pretraining: this is a run of its own, in the folder `pretraining` of the other."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from unroll import progress, ranks
from unroll.config import Config
from unroll.tasks.spec import TASKS
from unroll.training.resume import Start, find_start
from unroll.training.saved_run import FREE, PRETRAINING, is_complete


def pretraining_of(config: Config) -> Config | None:
    """Return the settings of the pretraining that a run begins with; None if there is none.

    Raises:
        ConfigError: the model can't be pretrained.
    """
    spec = TASKS[config.kind]
    found: Config | None = None if spec.pretraining is None else spec.load("pretraining")(config)
    return found


def pretrain(
    config: Config, run_dir: Path, changes: Mapping[str, Any], train: Callable[[Config, Path, Start | None], Any]
) -> Path:
    """Do what is left of a run's pretraining, and return its last checkpoint.

    Args:
        config: of the pretraining.
        run_dir: of the run that begins with it.
        changes: settings that are given anew when the run is resumed, by dotted key.
        train: a function (config, folder, start) that trains.
    """
    folder = run_dir / PRETRAINING
    if not ranks.first(is_complete(folder)):
        progress.say(f"pretraining first, in {folder}")
        if ranks.first((folder / "checkpoints" / "last.ckpt").exists()):
            start = find_start(folder, {key: value for key, value in changes.items() if key.startswith(FREE)})
            train(start.config, folder, start)
        else:
            if ranks.rank() == 0:
                shutil.rmtree(folder, ignore_errors=True)  # it was stopped before anything was saved
                folder.mkdir()
            ranks.wait()
            train(config, folder, None)
        done = pretraining_in(run_dir)["pretraining"]
        progress.say(f"pretrained in {progress.clock(done['seconds'])} minutes, {done['steps']:,} steps")
    return folder / "checkpoints" / "last.ckpt"


def pretraining_in(run_dir: Path) -> dict[str, Any]:
    """Return `pretraining`, the figures of a run's pretraining, for its summary; nothing where it had none."""
    path = run_dir / PRETRAINING / "summary.json"
    return {"pretraining": json.loads(path.read_text(encoding="utf-8"))["train"]} if path.exists() else {}
