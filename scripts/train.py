"""Train a model: `python scripts/train.py task=imdb`, with any `key=value` of conf/ after it.

`python scripts/train.py resume=RUN_DIR` resumes a run that was stopped, as if it had not been.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from unroll import cli, runtime
from unroll.compose import as_config_error, register
from unroll.errors import ConfigError
from unroll.tasks.spec import TASKS, from_dict

register()
begun = False  # whether settings have been read, and a run with them begun


def train(values: DictConfig) -> None:
    plain: Any = OmegaConf.to_container(values, resolve=True)
    config, start = from_dict(plain), None
    # Before torch is loaded, which reading a checkpoint does.
    runtime.configure(config.threads, full_windows=TASKS[kind_of(config)].full_windows)
    if config.resume is not None:
        from unroll.training.resume import find_start

        start = find_start(Path(config.resume), changes(values), Console(soft_wrap=True))
        config = start.config
        runtime.configure(config.threads)
    # Not before: Lightning takes seconds to import, and a mistake in the settings should show at once.
    from unroll.training.run import train

    train(config, start=start)


def kind_of(config: Any) -> str:
    """Return the kind of task that is trained: of a run that is resumed, what its config.yaml says. Where that can't be
    read any will do: it only costs time."""
    if config.resume is None:
        return str(config.kind)
    try:
        values = yaml.safe_load((Path(config.resume) / "config.yaml").read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return str(config.kind)
    kind = values.get("kind") if isinstance(values, dict) else None
    return kind if isinstance(kind, str) and kind in TASKS else str(config.kind)


def changes(values: DictConfig) -> dict[str, Any]:
    """Return the settings that were given beside `resume`, by dotted key."""
    given = {}
    for override in HydraConfig.get().overrides.task:
        key = override.partition("=")[0].lstrip("+~")
        if key in ("encoder", "experiment"):
            raise ConfigError(f"resume takes the run's own settings; leave {override} out")
        if key == "run_dir":
            raise ConfigError("resume names the run's folder already; leave run_dir out")
        if key != "resume":
            given[key] = OmegaConf.select(values, key)
    return given


@hydra.main(version_base="1.3", config_path="../conf", config_name="train")
def job(values: DictConfig) -> None:
    """One run; with `--multirun`, one of several. It exits here on failure, before Hydra prints of it."""
    global begun
    begun = True
    if code := cli.run(lambda: train(values)):
        sys.exit(code)


def main() -> None:
    try:
        job()
    except Exception as error:
        if begun:
            raise
        raise as_config_error(error) from error


if __name__ == "__main__":
    sys.exit(cli.run(main))
