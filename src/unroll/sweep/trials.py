"""A worker: it takes trials one after the other, and trains each as a run."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from lightning.pytorch.loggers import TensorBoardLogger
from omegaconf import OmegaConf
from optuna.trial import Trial, TrialState

from unroll import progress
from unroll.compose import compose
from unroll.config import AUTO, Config, flat
from unroll.config.sweep import SweepConfig
from unroll.errors import ConfigError, Interrupted, Pruned, UserError
from unroll.sweep.journal import Journal
from unroll.sweep.space import Space
from unroll.tasks.spec import TASKS
from unroll.training.callbacks.pruning import Pruning
from unroll.training.saved_run import FREE
from unroll.training.start import train

FAILURES = 3  # trials: where all of the first ones fail, so would the others

_LESS_IS_BETTER = ("loss", "bpc", "bpb", "perplexity")
_MORE_IS_BETTER = ("accuracy", "f1", "auroc", "precision", "recall")


class NoMetric(ConfigError):
    """The objective is no metric of the runs."""


class Worker:
    """One process of a sweep."""

    def __init__(self, config: SweepConfig, space: Space, values: Any, config_dir: Path | None = None) -> None:
        """Open the sweep's journal, or begin it.

        Args:
            config: the sweep's settings.
            space: what is searched.
            values: what `space.first` gave: in what trials share, all workers must agree.
            config_dir: a folder with presets and recipes of one's own.

        Raises:
            ConfigError: the journal is of another search, or the objective can't be one.
            DataError: the journal is damaged.
        """
        self.space, self.timeout, self.config_dir = space, config.timeout, config_dir
        self.objective, self.mode = objective(config, str(values.kind))
        if values.trainer.limit_val_batches == 0:
            raise ConfigError("trainer.limit_val_batches=0: trials are compared by their validation; leave it out")
        optuna.logging.set_verbosity(optuna.logging.WARNING)  # the runs say what they do
        shared: dict[str, Any] = {"sweep.objective": self.objective, "sweep.mode": self.mode}
        shared |= {f"sweep.{name}": getattr(config, name) for name in ("sampler", "pruner", "seed")}
        shared |= {key: str(distribution) for key, distribution in space.swept.items()}
        plain: Any = OmegaConf.to_container(values, resolve=False)
        shared |= {key: value for key, value in flat(plain).items() if key not in shared and not key.startswith(FREE)}
        self.journal = Journal(config, space, self.mode, json.loads(json.dumps(shared)))

    def work(self) -> None:
        """Train one trial after the other, until all have begun or `sweep.timeout` is over.

        Raises:
            Interrupted: a signal stopped a trial, after saving; the next worker resumes it.
            UserError: the objective is no metric of the runs, or all of the first trials failed.
        """
        began = time.monotonic()
        while self.timeout is None or time.monotonic() - began < self.timeout:
            with self.journal.next() as trial:
                if trial is None:
                    return
                progress.say("")
                progress.say(f"trial {trial.number} of {self.journal.most_trials}: {listed(trial.params)}")
                self._try(trial)
        progress.say(f"sweep.timeout={self.timeout:g}: the time is over, and no more trials are begun")

    def _try(self, trial: Trial) -> None:
        """Train a trial, and note in the journal how it ended."""
        study = self.journal.study
        try:
            value = self._train(trial)
        except Pruned as reason:
            progress.say(f"trial {trial.number} is pruned: {reason}")
            pruned = study.tell(trial, state=TrialState.PRUNED)
            self._compare(trial, pruned.value)
        except Interrupted as error:
            what = str(error).partition(";")[0]  # stopped by SIGTERM
            raise Interrupted(
                f"{what}; trial {trial.number} is saved, and the same command resumes it", error.exit_code - 128
            ) from error
        except NoMetric:
            raise
        except UserError as error:
            trial.set_user_attr("error", str(error))
            study.tell(trial, state=TrialState.FAIL)
            progress.say(f"trial {trial.number} failed: {error}")
            self._give_up(error)
        else:
            self._compare(trial, value)
            study.tell(trial, value)

    def _train(self, trial: Trial) -> float:
        """Train the run of a trial, or resume it, and return the objective of its best checkpoint."""

        def report(number: int, value: float) -> bool:
            if number not in self.journal.trials()[trial.number].intermediate_values:  # else it was said before a kill
                trial.report(value, number)
            return trial.should_prune()

        config: Config = compose(self.space.settings(trial.params), self.config_dir)
        if config.trainer.devices * config.trainer.num_nodes > 1:
            raise ConfigError("a trial trains in one process; write trainer.devices=1 and trainer.num_nodes=1")
        config.trainer.limit_test_batches = 0  # nothing may be chosen by the test split
        config.run_dir, config.resume = str(self.journal.run_dir(trial.number)), AUTO
        summary = train(config, callbacks=[Pruning(self._value, report)])
        return self._value(summary["metrics"])

    def _value(self, metrics: Mapping[str, Any]) -> float:
        if self.objective not in metrics:
            there_are = [name for name in metrics if name.startswith("val/") and name.count("/") == 1]
            raise NoMetric(
                f"sweep.objective={self.objective}: is no metric of these runs; delete {self.journal.folder} and write "
                f"{' or '.join(there_are)}"
            )
        if metrics[self.objective] is None or math.isnan(metrics[self.objective]):
            raise UserError(f"{self.objective} is not finite")
        return float(metrics[self.objective])

    def _compare(self, trial: Trial, value: float | None) -> None:
        """Let TensorBoard show the trial beside the others, in HPARAMS, where it is among the trial's loggers."""
        run_dir = self.journal.run_dir(trial.number)
        if value is not None and (run_dir / "tensorboard").is_dir():
            logger = TensorBoardLogger(run_dir, name="", version="tensorboard")
            logger.log_hyperparams(dict(trial.params), {f"sweep/{self.objective.removeprefix('val/')}": value})
            logger.finalize("success")

    def _give_up(self, error: UserError) -> None:
        failed = [trial for trial in self.journal.trials() if trial.state.is_finished()]
        if len(failed) >= FAILURES and all(trial.state == TrialState.FAIL for trial in failed):
            raise UserError(f"all of the first {len(failed)} trials failed, the last one because: {error}") from error


def objective(config: SweepConfig, kind: str) -> tuple[str, str]:
    """Return the metric that is searched by, and "min" or "max".

    Raises:
        ConfigError: nobody knows which is better.
    """
    module = TASKS[kind].load("module")
    name: str = config.objective or module.monitor
    known = dict.fromkeys(_LESS_IS_BETTER, "min") | dict.fromkeys(_MORE_IS_BETTER, "max")
    known[module.monitor.removeprefix("val/")] = module.monitor_mode
    mode = config.mode or known.get(name.split("/")[1])
    if mode is None:
        raise ConfigError(
            f"sweep.objective={name[:80]}: is none of unroll's metrics, such as {module.monitor}; if it is your own, "
            "say which is better, by sweep.mode=min or sweep.mode=max"
        )
    return name, mode


def listed(values: Mapping[str, Any]) -> str:
    """Return values in a line, numbers to four digits."""
    return ", ".join(
        f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}" for key, value in values.items()
    )
