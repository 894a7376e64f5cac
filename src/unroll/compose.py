"""From `key=value` to a config: Hydra composes it of the files in conf/, and what it complains of becomes one line."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationKeyError, InterpolationResolutionError, OmegaConfBaseException

from unroll.commands import quoted
from unroll.errors import ConfigError
from unroll.tasks.spec import TASKS, from_dict, unknown_key

_SHIPPED = Path(__file__).resolve().parent / "conf"
CONF = _SHIPPED if _SHIPPED.is_dir() else _SHIPPED.parents[2] / "conf"
"""The files of settings: inside the package where it is installed, at the top of a checkout."""


def register() -> None:
    """Give Hydra the settings' names and types, by kind of task. It then raises its errors instead of printing them."""
    os.environ["HYDRA_FULL_ERROR"] = "1"
    for kind in TASKS:
        settings: Any = TASKS[kind].settings
        ConfigStore.instance().store(group="schema", name=kind, node=_schema(settings))


@cache
def _schema(settings: Any) -> DictConfig:
    schema: DictConfig = OmegaConf.structured(settings)
    return schema


def compose(settings: Sequence[str], config_dir: str | Path | None = None, conf: Path = CONF) -> Any:
    """Return the config of the settings, each "key=value", checked; see `composed`."""
    return checked(composed(settings, config_dir, conf))


def composed(settings: Sequence[str], config_dir: str | Path | None = None, conf: Path = CONF) -> Any:
    """Return the values of the settings, as Hydra has them.

    Args:
        settings: as they are typed.
        config_dir: a folder with presets and recipes of one's own.
        conf: the folder with all others.

    Raises:
        ConfigError: settings or files that can't be read.
    """
    register()
    searched = [] if config_dir is None else [f"hydra.searchpath=[{quoted(f'file://{Path(config_dir).resolve()}')}]"]
    try:
        with hydra.initialize_config_dir(str(conf), version_base="1.3"):
            return hydra.compose("train", [*settings, *searched])
    except Exception as error:  # of a damaged file Hydra may raise anything
        raise as_config_error(error) from error


def checked(values: Any) -> Any:
    """Return what Hydra has composed as the settings of its kind of task, checked.

    Raises:
        ConfigError: a value that refers to nothing, or see `unroll.tasks.spec.from_dict`.
    """
    try:
        plain: Any = OmegaConf.to_container(values, resolve=True)
    except OmegaConfBaseException as error:
        raise as_config_error(error) from error
    return from_dict(plain)


def as_config_error(error: Exception) -> ConfigError:
    """Return Hydra's message in one line, with the nearest setting where a key does not exist."""
    cause: BaseException | None = error
    while cause is not None:
        key = getattr(cause, "full_key", None)
        if key and type(cause).__name__ in ("ConfigAttributeError", "ConfigKeyError"):
            return unknown_key(key)
        cause = cause.__cause__
    if isinstance(error, InterpolationKeyError | InterpolationResolutionError):
        what = str(error).splitlines()[0]
        return ConfigError(f"{error.full_key}: {what}; write a value, or ${{GROUP.NAME}} of a setting that there is")
    wrong = re.match(r"Error merging override \+*([\w.]+)=(.*)", str(error), re.DOTALL)
    if wrong is not None and (refused := _refused(wrong[1], wrong[2])) is not None:
        return refused
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        group, _, choice = error.missing_cfg_file.partition("/")
        return ConfigError(f"there is no {group}={choice}; there are {', '.join(sorted(error.options))}")
    if isinstance(error, OverrideParseException):
        return ConfigError(f"can't read '{error.override}'; write key=value, with quotes around what is not one word")
    if isinstance(error, HydraException | OmegaConfBaseException):
        return ConfigError(" ".join(str(error).split()))
    return ConfigError(f"a file in conf/ is damaged: {' '.join(str(error).split())}; write it again")


def _refused(key: str, text: str) -> ConfigError | None:
    """Return what is said of a value by the rules of the settings, which Hydra refuses by its own."""
    values: Any = OverridesParser.create().parse_override(f"key={text}").value()
    for name in reversed(key.split(".")):
        values = {name: values}
    for kind in TASKS:
        try:
            from_dict({"kind": kind, **values})
        except ConfigError as error:
            if str(error).startswith(key):
                return error
    return None
