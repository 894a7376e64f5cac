"""The jobs of `unroll train`: one, or with `--multirun` one for each combination of values."""

from __future__ import annotations

import datetime
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import OmegaConf

from unroll import progress
from unroll.cli import run
from unroll.config import AUTO
from unroll.errors import ConfigError
from unroll.shown import in_columns, shown

LONGEST_NAME = 80  # characters of a folder's name that tell the job's settings
_STOPPED = (129, 130, 143)  # exit codes after a signal


@dataclass
class Job:
    """One combination of the values that are swept."""

    settings: str  # those that differ between jobs
    run_dir: str
    code: int = 0
    summary: dict[str, Any] | None = None


class Multirun:
    """Runs jobs one after another. A job that fails does not stop the others; a signal does."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self.jobs: list[Job] = []
        self._began = datetime.datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
        settings = [each for each in arguments if "=" in each and not each.startswith("-")]
        parsed = OverridesParser.create().parse_overrides(settings)
        self._swept = {override.key_or_group for override in parsed if override.is_sweep_override()}

    def run_job(self, values: Any, train: Callable[[Any, Sequence[str]], dict[str, Any]]) -> None:
        """Run the job of the composed `values`. One that fails alone ends the program here, with its exit code."""
        from unroll.compose import checked

        hydra = HydraConfig.get()
        overrides: Any = OmegaConf.to_container(hydra.overrides.task, resolve=False)  # "${…}" as it was typed
        if hydra.mode != RunMode.MULTIRUN:
            if code := run(lambda: train(checked(values), overrides)):
                sys.exit(code)
            return
        if values.resume is not None and not (values.resume == AUTO and values.run_dir):
            raise ConfigError("--multirun starts new runs; resume one at a time, or all by run_dir=DIR resume=auto")
        differ = [each for each in overrides if each.partition("=")[0].lstrip("+~") in self._swept]
        job = Job(shlex.join(differ), str(self._folder(values, differ)))
        self.jobs.append(job)
        progress.say("")
        progress.say(f"job {len(self.jobs)}: {job.settings}")

        def work() -> None:
            config = checked(values)
            config.run_dir = job.run_dir
            job.summary = train(config, overrides)

        job.code = run(work)
        if job.code in _STOPPED:
            self.finish()

    def _folder(self, values: Any, differ: Sequence[str]) -> Path:
        name = re.sub(r"[^\w.=,+-]+", "-", ",".join(differ))[:LONGEST_NAME]
        numbered = f"{len(self.jobs) + 1:02d}_{name}"
        given = values.get("run_dir")
        return Path(given) / numbered if given else Path("runs", str(values.task), f"{self._began}_{numbered}")

    def finish(self) -> None:
        """Print a table of the jobs, and end the program: with the code of the signal that stopped it, or of the first
        job that failed."""
        for line in table(self.jobs):
            progress.say(line)
        codes = [job.code for job in self.jobs if job.code]
        if codes:
            sys.exit(codes[-1] if codes[-1] in _STOPPED else codes[0])


def table(jobs: Sequence[Job]) -> list[str]:
    """Return the lines of a table: each job's settings, how it ended, its figures, and where it is."""
    if not jobs:
        return []
    metrics = {name: None for job in jobs if job.summary for name in job.summary["metrics"] if name.count("/") == 1}
    shown_ = [name for name in metrics if not name.endswith("loss")][:6]
    rows = [["job", "settings", "ended", *shown_, "run_dir"]]
    for number, job in enumerate(jobs, 1):
        found = job.summary["metrics"] if job.summary else {}
        figures = [f"{value:.4f}" if (value := found.get(name)) is not None else "" for name in shown_]
        ended = "completed" if job.code == 0 else f"exit code {job.code}"
        run_dir = shown(job.run_dir) if Path(job.run_dir).exists() else ""
        rows.append([str(number), shown(job.settings, 60), ended, *figures, run_dir])
    return ["", *in_columns(rows)]
