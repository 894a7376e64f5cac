"""Train a model: `python scripts/train.py task=imdb`, with any `key=value` of conf/ after it.

`python scripts/train.py resume=RUN_DIR` goes on with a run that was stopped, as if it had not been.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console

from unroll import cli, openmp
from unroll.config import SCHEMAS, LanguageModelingConfig, from_dict, unknown_key
from unroll.errors import ConfigError

os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come to `main` instead of being printed by Hydra
for task, schema in SCHEMAS.items():
    ConfigStore.instance().store(group="schema", name=task, node=schema)


def train(values: DictConfig) -> None:
    config, start = from_dict(OmegaConf.to_container(values, resolve=True)), None
    if config.resume is not None:
        from unroll.training.resume import find_start

        start = find_start(Path(config.resume), changes(values), Console(soft_wrap=True))
        config = start.config
    if isinstance(config, LanguageModelingConfig):
        openmp.for_full_windows()
    # Not before: Lightning takes seconds to import, and a mistake in the settings should show at once.
    from unroll.training.run import train

    train(config, start=start)


def changes(values: DictConfig) -> dict[str, Any]:
    """Return the settings that were given beside `resume`, by dotted key."""
    given = {}
    for override in HydraConfig.get().overrides.task:
        key = override.partition("=")[0].lstrip("+~")
        if key in ("encoder", "experiment"):
            raise ConfigError(f"resume goes on with the run's own settings; leave {override} out")
        if key == "run_dir":
            raise ConfigError("resume names the run's folder already; leave run_dir out")
        if key != "resume":
            given[key] = OmegaConf.select(values, key)
    return given


@hydra.main(version_base="1.3", config_path="../conf", config_name="train")
def job(values: DictConfig) -> None:
    """One run; with `--multirun`, one of several. It exits here on failure, before Hydra prints of it."""
    if code := cli.run(lambda: train(values)):
        sys.exit(code)


def main() -> None:
    try:
        job()
    except (HydraException, OmegaConfBaseException) as error:
        raise _as_config_error(error) from error


def _as_config_error(error: Exception) -> ConfigError:
    """Hydra's message in one line, with the nearest setting where a key does not exist."""
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
    return ConfigError(" ".join(str(error).split()))


if __name__ == "__main__":
    sys.exit(cli.run(main))
