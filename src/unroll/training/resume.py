"""Going on with a run: finding its last good checkpoint, and checking that everything is as it was."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

import unroll
from unroll import checkpoint, durable
from unroll.config import ClassificationConfig, LanguageModelingConfig, from_dict, to_dict
from unroll.errors import CheckpointError, ConfigError
from unroll.inference.load import check_folder
from unroll.tasks.data import ClassificationData
from unroll.tasks.novel_data import NovelData

# Settings that may differ from the run's own: nothing that is computed depends on them.
_FREE = ("checkpoint.", "diagnostics.", "data.path", "data.folder", "data.workers", "trainer.profiler")

# What a checkpoint holds for going on, besides what it holds for use, and of which type.
_SCHEMA: dict[str, type] = {
    "loops": dict,
    "callbacks": dict,
    "optimizer_states": list,
    "lr_schedulers": list,
    "global_step": int,
    "random": dict,
    "position": dict,
}


@dataclass(frozen=True)
class Start:
    """Where a run is gone on from."""

    path: Path  # of the checkpoint
    config: ClassificationConfig | LanguageModelingConfig
    position: tuple[int, int]  # the epoch, and the batch in it, that comes next
    step: int  # optimiser steps done
    vocabulary: list[str]
    data: dict[str, Any]  # as `describe` of the data gave it


def find_start(run_dir: Path, changes: Mapping[str, Any], console: Console) -> Start:
    """Read where a run stopped.

    Args:
        run_dir: the run's folder.
        changes: settings that were given anew, by dotted key.
        console: told where `last.ckpt` is damaged and the one before it is taken.

    Raises:
        CheckpointError: neither can be used, or they are another major version's.
        ConfigError: the run is complete, or a setting is not what it was, and what was computed depends on it.
    """
    if _is_complete(run_dir):
        raise ConfigError(f"the run in {run_dir} is complete; there is nothing left to go on with")
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
        console.print(f"{error}; going on from {previous}", highlight=False, markup=False, soft_wrap=True)
        path, content = previous, _load(previous)
    theirs = content["versions"]["unroll"]
    if theirs.partition(".")[0] != unroll.__version__.partition(".")[0]:
        raise CheckpointError(
            f"{path}: was saved by unroll {theirs}, and this is {unroll.__version__}; go on with that version, or "
            "start a new run"
        )
    position, config = content["position"], _changed(from_dict(content["config"]), run_dir, changes)
    if "data.folder" not in changes:
        check_folder(config.data.folder, "give it anew, as in data.folder=data")
    return Start(
        path=path,
        config=config,
        position=(position["epoch"], position["batch"]),
        step=content["global_step"],
        vocabulary=content["vocabulary"],
        data=content["data"],
    )


def _is_complete(run_dir: Path) -> bool:
    try:
        summary = json.loads((run_dir / "summary.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(summary, dict) and summary.get("status") == "completed"


def _load(path: Path) -> dict[str, Any]:
    content = checkpoint.load(path)
    for key, kind in _SCHEMA.items():
        if not isinstance(content.get(key), kind):
            raise CheckpointError(f"{path}: can't be gone on from; its entry '{key}' is missing or no {kind.__name__}")
    position, random = content["position"], content["random"]
    if not all(isinstance(position.get(key), int) for key in ("epoch", "batch", "finished")):
        raise CheckpointError(f"{path}: can't be gone on from; its entry 'position' is not of whole numbers")
    if not isinstance(random.get("cpu"), Tensor) or random["cpu"].dtype != torch.uint8:
        raise CheckpointError(f"{path}: can't be gone on from; its entry 'random' is not the state of a generator")
    if not isinstance(content["versions"].get("unroll"), str):
        raise CheckpointError(f"{path}: can't be gone on from; it does not say which version saved it")
    return content


def _changed(
    config: ClassificationConfig | LanguageModelingConfig, run_dir: Path, changes: Mapping[str, Any]
) -> ClassificationConfig | LanguageModelingConfig:
    values = to_dict(config)
    for key, value in changes.items():
        *groups, name = key.split(".")
        group = values
        for part in groups:
            group = group[part]
        if group[name] != value and not key.startswith(_FREE):
            raise ConfigError(
                f"{key} is {group[name]} in {run_dir} and stays so when the run is gone on with; leave {key}={value} "
                "out, or start a new run"
            )
        group[name] = value
    return dataclasses.replace(from_dict(values), run_dir=str(run_dir))


def check_data(start: Start, data: ClassificationData | NovelData) -> None:
    """Compare the data with that of the run.

    Raises:
        CheckpointError: it is another corpus, or makes another vocabulary; the message names both fingerprints.
    """
    ours = data.describe()
    for name in ("fingerprint", "train", "val", "test"):
        if ours[name] != start.data.get(name):
            raise CheckpointError(
                f"{start.path}: was trained on another corpus: its data's {name} is {start.data.get(name)}, that of "
                f"{data.origin} is {ours[name]}; give data.path=… of the same text, or start a new run"
            )
    if list(data.vocabulary.tokens) != start.vocabulary:
        raise CheckpointError(
            f"{start.path}: has another vocabulary ({len(start.vocabulary)} tokens) than {data.origin} makes "
            f"({len(data.vocabulary)}, fingerprint {data.vocabulary.fingerprint}); start a new run"
        )
