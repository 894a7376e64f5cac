"""What a checkpoint holds for resuming, checked before a run is built from it.

The form of each entry is that of the same entry in a new run: its keys, and the types and shapes of its values.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import EarlyStopping
from torch import Tensor, nn

from unroll.checkpoint import entry
from unroll.config import Config
from unroll.errors import CheckpointError
from unroll.inference.load import model_of
from unroll.tasks.optimization import build_optimizer, build_schedule
from unroll.tasks.spec import TASKS
from unroll.training.callbacks.checkpointing import Checkpointing
from unroll.training.callbacks.throughput import Throughput
from unroll.training.callbacks.weight_averaging import weight_averages

_OPTIMIZER = "optimizer_states"


def check_state(content: dict[str, Any], path: Path) -> None:
    """Check all that a checkpoint restores in a run.

    Raises:
        CheckpointError: an entry is missing or damaged; the message names it.
    """
    loaded = model_of(content, path)
    try:
        if not re.fullmatch(r"2(\.\w+)+", str(entry(content, "pytorch-lightning_version", str))[:40]):
            raise ValueError("its entry 'pytorch-lightning_version' is no version of Lightning 2")
        _check_random(content["random"])
        _check_form(content["loops"], _loops(), "loops")
        _check_callbacks(content, loaded.config)
        _check_optimizer(content, loaded)
        if "csv_rows" in content:
            entry(content, "csv_rows", int)
    except ValueError as error:
        raise CheckpointError(f"{path}: can't be resumed; {error}") from error


def _check_form(found: Any, expected: Any, place: str) -> None:
    """Compare an entry with one of the form that it should have. It may have more keys: other versions have."""
    if isinstance(expected, Mapping) and isinstance(found, Mapping):
        for key, value in expected.items():
            if key not in found:
                raise ValueError(f"its entry '{place}.{key}' is missing")
            _check_form(found[key], value, f"{place}.{key}")
        return
    if isinstance(expected, list | tuple) and isinstance(found, list | tuple) and len(found) == len(expected):
        for number, (one, other) in enumerate(zip(found, expected, strict=True)):
            _check_form(one, other, f"{place}.{number}")
        return
    if isinstance(expected, Tensor) and isinstance(found, Tensor):
        fits = found.shape == expected.shape and found.is_floating_point() == expected.is_floating_point()
    elif expected is None or isinstance(expected, bool):
        fits = isinstance(found, bool) or (expected is None and isinstance(found, str | None))
    elif isinstance(expected, int):
        fits = isinstance(found, int) and not isinstance(found, bool) and found >= 0
    else:
        fits = isinstance(expected, float) and isinstance(found, int | float)
    if not fits:
        raise ValueError(f"its entry '{place}' is damaged")


def _check_random(random: Mapping[str, Any]) -> None:
    others = entry(random, "others", list) if "others" in random else []  # of ranks, which older checkpoints lack
    try:
        for rank in (random, *others):
            states = [rank["cpu"], *rank["cuda"]]
            if not all(isinstance(state, Tensor) and state.dtype == torch.uint8 for state in states):
                raise ValueError
            torch.Generator().set_state(states[0])
    except (RuntimeError, ValueError, TypeError, KeyError):
        raise ValueError("its entry 'random' is not the state of a generator") from None


@cache
def _loops() -> dict[str, Any]:
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # it would say which devices there are
    loop = Trainer(logger=False, accelerator="cpu", enable_checkpointing=False, enable_progress_bar=False).fit_loop
    return {"fit_loop": loop.state_dict() | {"state_dict": {"combined_loader": [{"epoch": 0, "batch": 0}]}}}


def _check_callbacks(content: Mapping[str, Any], config: Config) -> None:
    callbacks: list[Any] = [Throughput(1), Checkpointing(Path(), "", "max", None, None)]
    module = TASKS[config.kind].load("module")
    if config.early_stopping.patience is not None:
        callbacks.append(EarlyStopping(module.monitor, mode=module.monitor_mode, check_finite=False))
    averages = weight_averages(config.optimizer, module.monitor, module.monitor_mode)
    states = {callback.state_key: callback.state_dict() for callback in [*callbacks, *averages]}
    _check_form(content["callbacks"], states, "callbacks")
    for average in averages:
        weights = {"current_model_state": content["state_dict"], "averaging_state": {"n_averaged": torch.tensor(0)}}
        _check_form(content, weights, "checkpoint")
        state = content["callbacks"][average.state_key]
        if content["averaging_state"]["n_averaged"] < state.get("first", 0):
            raise ValueError("its entry 'averaging_state.n_averaged' is damaged")
        if "figures" in state:
            entry(content, f"callbacks.{average.state_key}.figures", dict, of=float)
    entry(content, "callbacks.Checkpointing.best_metrics", dict, of=float)
    for name, mean in content["callbacks"]["Throughput"]["stretch"]["means"].items():
        count = len(mean["weights"]) if isinstance(mean, Mapping) and isinstance(mean.get("weights"), list) else 0
        _check_form(mean, {"values": torch.zeros(count), "weights": [0] * count}, f"callbacks.Throughput.{name!s:.80}")


def _check_optimizer(content: Mapping[str, Any], loaded: Any) -> None:
    """Compare the states of optimiser and schedule with those after a step of the model. The step spoils the model."""
    model, config = getattr(loaded, "model", None), loaded.config.optimizer
    if not isinstance(model, nn.Module):
        return
    optimizer = build_optimizer(model, config)
    schedule = build_schedule(optimizer, 1, config)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    expected = optimizer.state_dict()
    outline: dict[str, Any] = {"state": {}, "param_groups": [{} for _ in expected["param_groups"]]}
    _check_form(content["optimizer_states"], [outline], _OPTIMIZER)
    (found,) = content["optimizer_states"]
    for number, group in enumerate(expected["param_groups"]):
        given = found["param_groups"][number]
        _check_form(given, _known(group, given, ("params", "lr", "initial_lr")), f"{_OPTIMIZER}.param_groups.{number}")
    for parameter, kept in found["state"].items():  # one that never had a gradient has none
        place = f"{_OPTIMIZER}.state.{parameter!s:.80}"
        if parameter not in expected["state"]:
            raise ValueError(f"its entry '{place}' is damaged")
        _check_form(kept, expected["state"][parameter], place)
        if not all(bool(kept[name].isfinite().all()) for name in expected["state"][parameter]):
            raise ValueError(f"its entry '{place}' is not finite")
    _check_form(content["lr_schedulers"], [{}], "lr_schedulers")
    (given,) = content["lr_schedulers"]
    needed = ("base_lrs", "last_epoch", "lr_lambdas", "_last_lr")
    _check_form(given, _known(schedule.state_dict(), given, needed), "lr_schedulers")


def _known(expected: Mapping[str, Any], found: Mapping[str, Any], needed: tuple[str, ...]) -> dict[str, Any]:
    """Return what is needed, and what another version of torch saves as well."""
    return {key: value for key, value in expected.items() if key in found or key in needed}
