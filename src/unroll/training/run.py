"""A training run from settings to summary."""

from __future__ import annotations

import json
import logging
import math
import threading
import traceback
import warnings
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.callbacks import EarlyStopping

from unroll import checkpoint, progress, ranks
from unroll.commands import resuming
from unroll.config import Config, to_dict
from unroll.durable import write_text
from unroll.errors import DataError, Diverged, Elsewhere, Interrupted, Pruned, UserError, memory_error
from unroll.registry import resolve
from unroll.tasks.data import TaskData
from unroll.tasks.module import TaskModule, versions
from unroll.tasks.spec import TASKS
from unroll.training.callbacks.checkpointing import Checkpointing
from unroll.training.callbacks.progress import ProgressBars
from unroll.training.callbacks.recurrence import Recurrence
from unroll.training.callbacks.signals import StopOnSignal
from unroll.training.callbacks.throughput import Throughput, peak_memory
from unroll.training.callbacks.weight_averaging import weight_averages
from unroll.training.init_from import initialise
from unroll.training.loggers import check_loggers, close, compare, loggers_of
from unroll.training.pretraining import pretrain, pretraining_in, pretraining_of
from unroll.training.report import print_data, print_summary
from unroll.training.resume import Start, check_data, find_start
from unroll.training.saved_run import changed, settings_in, stopped_before_training
from unroll.training.shared_data import read_data
from unroll.training.trainer import check_trainer, total_steps, trainer_arguments

# What Lightning says of its own set-up, on every run, and what does not concern this one.
_NOISE = (
    ".*does not have many workers.*",
    ".*smaller than the logging interval.*",
    ".*have no `val_dataloader`.*",
    ".*isinstance\\(treespec, LeafSpec\\).*",
    ".*Checkpoint directory .* exists.*",
    ".*when logging on epoch level in distributed setting.*",  # the metrics are those of all ranks
    ".*find_unused_parameters=True was specified.*",
    ".*`broadcast_buffers` is deprecated.*",
    "Grad strides do not match bucket view strides.*",
    ".*but have no logger configured.*",
)


def run_in(
    run_dir: Path, config: Config, changes: Mapping[str, Any], callbacks: Sequence[Callback] = ()
) -> dict[str, Any]:
    """Train in a folder that is claimed for the run, and return what `summary.json` holds; see `unroll.training.start`.
    Each of the processes that train together calls this."""
    quiet()
    start = None
    if config.resume is not None:
        if stopped_before_training(run_dir):
            config = changed(settings_in(run_dir), run_dir, changes)
        else:
            start = ranks.together(lambda: find_start(run_dir, changes))
            config = start.config
        if config.threads is not None:
            torch.set_num_threads(config.threads)
    check_trainer(config)
    check_loggers(config.logger)
    first = pretraining_of(config) if start is None else None
    if first is None:
        return _train(config, run_dir, start, callbacks=callbacks)
    _write_settings(config, run_dir)  # by them the run is resumed until it has saved
    init_from = pretrain(first, run_dir, changes, partial(_train, whole=run_dir))
    return _train(config, run_dir, init_from=init_from, callbacks=callbacks)


def _write_settings(config: Config, run_dir: Path) -> None:
    if ranks.rank() == 0:
        write_text(run_dir / "config.yaml", yaml.safe_dump(to_dict(config), sort_keys=False))


def _train(
    config: Config,
    run_dir: Path,
    start: Start | None = None,
    init_from: Path | None = None,
    whole: Path | None = None,
    callbacks: Sequence[Callback] = (),
) -> dict[str, Any]:
    """Train in a folder. `whole` is that of the run that this is the first part of."""
    seed_everything(config.seed, verbose=False)
    data = read_data(config)
    if whole is None:  # else the data are those of the run, and it prints them
        print_data(data)
    weights = init_from or (Path(config.init_from) if config.init_from else None)

    def build() -> tuple[Run, tuple[str, ...]]:
        if start is not None:
            check_data(start, data)
        run = Run(config, data, run_dir, start, whole, callbacks)
        return run, start.notes if start else tuple(initialise(run.module, weights)) if weights else ()

    run, notes = ranks.together(build)
    for note in notes:
        progress.say(note)
    (run_dir / "error.log").unlink(missing_ok=True)  # of what ended it before
    if start is None or not start.extends:  # else the folder is that of a finished run until this one has saved
        _write_settings(config, run_dir)
    status = "failed"
    try:
        run.fit_and_test()
        status = "completed"
    except Interrupted:
        status = "interrupted"
        raise
    except Pruned:
        status = "pruned"
        raise
    except Exception as error:
        raise _explained(error, run) from error
    finally:
        if status != "completed":
            with suppress(Exception):  # it would hide what ended the run
                close(run.trainer.loggers, completed=False)
        summary = run.summary(status)
        if ranks.rank() == 0:
            with nullcontext() if status == "completed" else suppress(OSError):
                write_text(run_dir / "summary.json", json.dumps(summary, indent=2) + "\n")
    ranks.wait()  # for the summary, which the others may read
    if whole is None:
        print_summary(summary, TASKS[config.kind], run_dir)
    return summary


def _explained(error: Exception, run: Run) -> UserError:
    """Return the error that says in one line what ended a run, and keep the traceback in `error.log`."""
    log, kept = run.run_dir / "error.log", run.checkpoints.last
    if ranks.is_lost(error):  # the other process has written it
        then = f"resume it: {resuming(run.whole)}" if kept.exists() else "nothing is saved"
        return Elsewhere(message=f"another process of the run has ended; {then}" if ranks.local_rank() == 0 else "")
    with suppress(OSError):  # the disk may be full, and that may be what the error says
        write_text(log, traceback.format_exc())
    if isinstance(error, OSError):
        return UserError(_unwritable(error, run))
    if isinstance(error, Diverged):
        return Diverged(f"{error}; {kept if kept.exists() else 'no checkpoint'} was saved before")
    if isinstance(error, UserError):
        return error
    if (message := memory_error(error)) is not None:
        return UserError(message)
    reason = str(error).splitlines()[0] if str(error) else "no message"
    return UserError(f"training failed ({type(error).__name__}: {reason}); see {log}")


def _unwritable(error: OSError, run: Run) -> str:
    kept = run.checkpoints.last
    then = f"then resume from {kept}: {resuming(run.whole)}" if kept.exists() else "no checkpoint was saved"
    return f"{error.filename or run.run_dir}: {error.strerror or error}; make room or give permission; {then}"


def build_module(config: Config, data: TaskData) -> TaskModule:
    """Return the module, its model untrained.

    Raises:
        DataError: no batch is left to train on.
    """
    batches = len(data.train_dataloader())
    limit = config.trainer.limit_train_batches
    batches = min(limit, batches) if isinstance(limit, int) else int(batches * limit)
    if batches == 0:
        raise DataError(f"trainer.limit_train_batches={limit} leaves no batch to train on; write a larger share")
    module: TaskModule = TASKS[config.kind].load("module")(config, data, total_steps(config, batches))
    return module


class Run:
    """The parts of one run, wired together."""

    def __init__(
        self,
        config: Config,
        data: TaskData,
        run_dir: Path,
        start: Start | None = None,
        whole: Path | None = None,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self.config, self.data, self.run_dir, self.start = config, data, run_dir, start
        self.whole = whole or run_dir  # the folder by which it is resumed
        self.metrics: dict[str, float] = {}
        self.throughput = Throughput(config.trainer.log_every_n_steps)
        self.module = build_module(config, data)
        self.checkpoints = Checkpointing(
            run_dir / "checkpoints",
            self.module.monitor,
            self.module.monitor_mode,
            config.checkpoint.every_n_steps,
            config.checkpoint.every_n_minutes,
            reopen=self._reopen if start is not None and start.extends else None,
        )
        self.trainer = Trainer(
            **trainer_arguments(config),
            callbacks=[*self._callbacks(), *callbacks],
            logger=False,  # `fit_and_test` opens them: by then nothing is left that a setting could be refused for
        )
        # Lightning does this only after it has loaded a checkpoint, and copied the weights to be averaged: numbers in
        # float64 would be rounded.
        self.trainer.precision_plugin.convert_module(self.module)

    def _reopen(self) -> None:
        """Have the folder of a finished run say that it continues, and by which settings."""
        (self.run_dir / "summary.json").unlink(missing_ok=True)
        _write_settings(self.config, self.run_dir)

    def _callbacks(self) -> list[Callback]:
        spec, config = TASKS[self.config.kind], self.config
        callbacks: list[Callback] = [
            self.throughput,
            ProgressBars(spec, self.throughput),
            *(resolve(callback)(self.data) for callback in spec.callbacks),
            Recurrence(self.data, config.diagnostics.every_n_steps),
            self.checkpoints,
        ]
        # After samples and pictures, since it takes the averaged weights back at the end of the validation, and after
        # the checkpoints, since it puts them in place of the others at the end of the training.
        callbacks += weight_averages(config.optimizer, self.module.monitor, self.module.monitor_mode)
        if config.early_stopping.patience is not None:
            patience, mode = config.early_stopping.patience, self.module.monitor_mode
            callbacks.append(EarlyStopping(self.module.monitor, mode=mode, patience=patience, check_finite=False))
        return [*callbacks, StopOnSignal(self.checkpoints, self.whole)]

    def fit_and_test(self) -> None:
        self.trainer.loggers = ranks.together(lambda: loggers_of(self.config, self.run_dir, self.start))
        self.trainer.fit(self.module, self.data, ckpt_path=self.start.path if self.start else None)
        if not self.checkpoints.best.exists() and self.trainer.limit_val_batches:
            self.trainer.validate(self.module, self.data, verbose=False)  # the run was shorter than an epoch
        if self.checkpoints.best.exists():
            self.module.load_state_dict(checkpoint.load(self.checkpoints.best)["state_dict"])
            self.metrics |= self.checkpoints.best_metrics
        for results in self.trainer.test(self.module, self.data, verbose=False):
            self.metrics |= {name: float(value) for name, value in results.items()}
        # Of the metrics, only those that have no curve of their own: a second value at the last step would bend it.
        # Those of single classes, test/NAME/CLASS, would fill the table.
        final = {
            name: value for name, value in self.metrics.items() if name.startswith("test/") and name.count("/") == 1
        }
        compare(self.trainer.loggers, self.config, final, self.trainer.global_step)
        close(self.trainer.loggers, completed=True)
        if self.config.trainer.profiler is not None:
            profiler: Any = vars(self.trainer)["profiler"]  # Lightning sets it without declaring it
            for line in profiler.summary().splitlines():
                progress.say(line)
        self.throughput.memory = sum(ranks.gathered(peak_memory()))

    def summary(self, status: str) -> dict[str, Any]:
        """Return what `summary.json` holds, as far as it is known now."""
        kept = {"best": self.checkpoints.best, "last": self.checkpoints.last}
        return {
            "task": self.config.task,
            "status": status,
            "seed": self.config.seed,
            "data": self.data.describe(),
            "model": {"parameters": sum(parameter.numel() for parameter in self.module.model.parameters())},
            "train": self.throughput.describe(self.trainer)
            | {"threads": torch.get_num_threads(), "workers": self.config.data.workers}
            | {"processes": ranks.world_size()},
            # JSON has no number for a perplexity beyond all bounds.
            "metrics": {name: value if math.isfinite(value) else None for name, value in self.metrics.items()},
            "checkpoints": {name: str(path) if path.exists() else None for name, path in kept.items()},
            "versions": versions(),
            **pretraining_in(self.run_dir),
        }


def quiet() -> None:
    """Silence what Lightning says of its own set-up."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in _NOISE:
        warnings.filterwarnings("ignore", message)
    threading.excepthook = _in_a_thread


def _in_a_thread(error: threading.ExceptHookArgs) -> None:
    """TensorBoard's thread, where it can't write, ends; the error is raised again where the run can answer it."""
    if not isinstance(error.exc_value, OSError):
        threading.__excepthook__(error)
