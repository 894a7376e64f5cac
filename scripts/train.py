"""Train a model: `python scripts/train.py task=imdb`, with any `key=value` of conf/ after it."""

from __future__ import annotations

import os
import sys

import hydra
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from unroll import cli, openmp
from unroll.config import SCHEMAS, LanguageModelingConfig, from_dict, unknown_key
from unroll.errors import ConfigError

os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come to `main` instead of being printed by Hydra
for task, schema in SCHEMAS.items():
    ConfigStore.instance().store(group="schema", name=task, node=schema)


def train(values: DictConfig) -> None:
    config = from_dict(OmegaConf.to_container(values, resolve=True))
    if isinstance(config, LanguageModelingConfig):
        openmp.for_full_windows()
    # Not before: Lightning takes seconds to import, and a mistake in the settings should show at once.
    from unroll.training.run import train

    train(config)


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
