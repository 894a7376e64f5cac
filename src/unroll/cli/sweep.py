"""`unroll sweep`: a search for the best settings, by one or more workers."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from unroll import __version__, progress, runtime
from unroll.cli.screen import parser
from unroll.config.fields import brief
from unroll.config.sweep import SweepConfig
from unroll.errors import ConfigError, UserError
from unroll.tasks.spec import TASKS, from_dict
from unroll.training import place


def main(arguments: list[str]) -> None:
    """Train trials until there are enough, and print what came out."""
    own = "  ".join(f"sweep.{field.name}={brief(field.default)}" for field in dataclasses.fields(SweepConfig))
    options = parser(
        "sweep",
        "Search for the best settings. Each trial is a run. The same command again is one more worker, and resumes\n"
        f"what was stopped. The settings of the search, by default:\n\n  {own}",
        (
            "task=imdb sweep.dir=runs/sweeps/a 'optimizer.learning_rate=tag(log, interval(1e-4, 1e-1))'",
            "task=imdb sweep.dir=runs/sweeps/b sweep.trials=50 'encoder=choice(gru,lstm)' "
            "'encoder.hidden_size=int(interval(32,256))'",
            "task=imdb sweep.dir=runs/sweeps/c sweep.sampler=grid encoder=gru,lstm seed=0,1,2",
        ),
    )
    options.add_argument(
        "settings",
        nargs="+",
        metavar="key=value",
        help="settings of the runs; those with several values are searched: choice(a,b) or a,b; range(first,end,step); "
        "interval(low,high); int(interval(low,high)); tag(log,interval(low,high))",
    )
    options.add_argument("--config-dir", type=Path, metavar="DIR", help="a folder with presets and recipes of your own")
    given = options.parse_args(arguments)
    if place.outer() is not None:
        raise ConfigError(
            "each worker of a sweep is one process; start the command by itself, without torchrun or srun"
        )
    print(f"unroll {__version__}: reading the settings", flush=True)
    try:
        from unroll.sweep.space import read
    except ModuleNotFoundError as error:
        if not f"{error.name}.".startswith("optuna."):
            raise
        raise UserError("unroll sweep needs Optuna; install it: pip install 'unroll[sweep]'") from error
    from filelock import Timeout
    from rich.console import Console

    config, space = read(given.settings)
    values = space.first(given.config_dir)
    from_dict({"kind": values.kind, "threads": values.threads})  # the one setting that is used before a trial begins
    with progress.display(Console()):
        progress.say(f"{values.task}: loading torch and Lightning")
        runtime.configure(values.threads, full_windows=TASKS[values.kind].full_windows)
        from unroll.sweep import results
        from unroll.sweep.trials import Worker

        try:
            worker = Worker(config, space, values, given.config_dir)
            worker.work()
            results.show(worker, test=config.test)
        except Timeout as error:
            raise UserError(f"{error.lock_file}: another worker has held it for too long; end that process") from error
