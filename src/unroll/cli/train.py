"""`unroll train`: settings are Hydra's `key=value`, its options those of Hydra."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

from unroll import __version__, progress, runtime
from unroll.errors import ConfigError, UserError
from unroll.training import place

# Options of Hydra that print something instead of training.
_PRINTS = ("--cfg", "-c", "--info", "-i", "--help", "-h", "--hydra-help", "--shell-completion", "-sc", "--version")


def main(arguments: list[str]) -> None:
    """Train by the settings in `arguments`; with `--multirun`, once for each combination of their values."""
    outer = place.outer()
    if outer is not None:
        outer.announce()
        if outer.rank:
            place.silence()
    if not any(argument.partition("=")[0] in _PRINTS for argument in arguments):
        print(f"unroll {__version__}: reading the settings", flush=True)  # before anything is imported that takes time
    import hydra
    from rich.console import Console

    from unroll.cli.multirun import Multirun
    from unroll.compose import CONF, as_config_error, register

    register()
    jobs: Multirun | None = None

    @hydra.main(version_base="1.3", config_path=str(CONF), config_name="train")
    def job(values: Any) -> None:
        nonlocal jobs
        jobs = jobs or Multirun(arguments)
        jobs.run_job(values, train_by)

    sys.argv = ["unroll train", *arguments]
    with progress.display(Console()):
        try:
            job()
        except UserError:
            raise
        except Exception as error:
            if jobs is not None:  # the settings were read
                raise
            raise as_config_error(error) from error
        if jobs is not None:
            jobs.finish()


def train(task: str = "imdb", overrides: Sequence[str] = (), config_dir: str | Path | None = None) -> dict[str, Any]:
    """Train as `unroll train` does, and return what `summary.json` holds.

        summary = unroll.train("imdb", ["data.path=reviews.csv", "trainer.max_epochs=1"])
        model = unroll.load(summary["checkpoints"]["best"])

    Args:
        task: a preset of `conf/task/`.
        overrides: settings, each "key=value"; "resume=RUN_DIR" resumes a run, and "resume=auto" the one in `run_dir`,
            if there is one.
        config_dir: a folder with presets and recipes of your own, as conf/ has them.

    Raises:
        UserError: a mistake in the settings or in the data, or training that diverged; the message says what to do.
    """
    from rich.console import Console

    from unroll.compose import compose

    config = compose([f"task={task}", *overrides], config_dir)
    with progress.display(Console(force_jupyter=False)):  # a notebook would make a page of each line
        return train_by(config, overrides)


def train_by(config: Any, overrides: Sequence[str]) -> dict[str, Any]:
    """Prepare the process and train by settings, some of which were given as `overrides`."""
    from unroll.config import AUTO
    from unroll.tasks.spec import TASKS
    from unroll.training.start import train

    given = {} if config.resume in (None, AUTO) else changes(config, overrides)
    progress.say(f"{config.task if config.resume in (None, AUTO) else config.resume}: loading torch and Lightning")
    outer = place.outer()
    if outer is not None or place.processes(config, given) == 1:  # else each of them prepares itself
        shared = None if outer is None else max(1, runtime.usable_cores() // outer.local_size)
        runtime.configure(config.threads or shared, full_windows=TASKS[place.settings_of(config).kind].full_windows)
    return train(config, given)


def changes(config: Any, overrides: Sequence[str]) -> dict[str, Any]:
    """Return the settings that were given beside `resume`, by dotted key.

    Raises:
        ConfigError: one of them can't be given there.
    """
    given = {}
    for override in overrides:
        key = override.partition("=")[0].lstrip("+~")
        if key in ("encoder", "experiment"):
            raise ConfigError(f"resume takes the run's own settings; leave {override[:80]} out")
        if key == "run_dir":
            raise ConfigError("resume names the run's folder already; leave run_dir out")
        if key != "resume" and not re.match(r"hydra\b", key):
            given[key] = reduce(_part, key.split("."), config)
    return given


def _part(group: Any, name: str) -> Any:
    return group[name] if isinstance(group, Mapping) else getattr(group, name)
