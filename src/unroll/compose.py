"""From `key=value` to a config: Hydra composes it of the files in conf/, and what it complains of becomes one line."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from unroll.errors import ConfigError
from unroll.tasks.spec import TASKS, from_dict, unknown_key


def register() -> None:
    """Give Hydra the settings' names and types, by kind of task. It then raises its errors instead of printing them."""
    os.environ["HYDRA_FULL_ERROR"] = "1"
    for kind in TASKS:
        ConfigStore.instance().store(group="schema", name=kind, node=TASKS[kind].settings)


def compose(folder: Path, settings: list[str]) -> Any:
    """Return the config of the settings, by the files in a folder.

    Raises:
        ConfigError: settings or files that can't be read, or that make no sense.
    """
    register()
    try:
        with hydra.initialize_config_dir(str(folder), version_base="1.3"):
            values = hydra.compose("train", settings)
    except Exception as error:  # of a damaged file Hydra may raise anything
        raise as_config_error(error) from error
    plain: Any = OmegaConf.to_container(values)
    return from_dict(plain)


def as_config_error(error: Exception) -> ConfigError:
    """Return Hydra's message in one line, with the nearest setting where a key does not exist."""
    cause: BaseException | None = error
    while cause is not None:
        key = getattr(cause, "full_key", None)
        if key and type(cause).__name__ in ("ConfigAttributeError", "ConfigKeyError"):
            return unknown_key(key)
        cause = cause.__cause__
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        group, _, choice = error.missing_cfg_file.partition("/")
        return ConfigError(f"there is no {group}={choice}; there are {', '.join(sorted(error.options))}")
    if isinstance(error, OverrideParseException):
        return ConfigError(f"can't read '{error.override}'; write key=value, with quotes around what is not one word")
    if isinstance(error, HydraException | OmegaConfBaseException):
        return ConfigError(" ".join(str(error).split()))
    return ConfigError(f"a file in conf/ is damaged: {' '.join(str(error).split())}; write it again")
