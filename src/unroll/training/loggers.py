"""Where a run's figures, pictures and texts go: Lightning's loggers, each with a folder of its own in the run's.

This is the one place that knows their kinds. Rank 0 alone has loggers.
"""

from __future__ import annotations

import csv
import logging
import os
import re
import secrets
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning.pytorch import Trainer
from lightning.pytorch.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from unroll import ranks
from unroll.config import Config
from unroll.durable import write_text
from unroll.errors import ConfigError, UserError
from unroll.shown import shown
from unroll.training.hyperparameters import LONGEST, hyperparameters

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from unroll.training.resume import Start

_PACKAGES = ("wandb", "mlflow")  # which are extras of this one
_RUN_ID = "run_id"  # the file, in a logger's folder, of the name under which a resumed run is continued
_LONGEST_METRIC = 250  # characters, MLflow's bound


def check_loggers(names: Sequence[str]) -> None:
    """Refuse a logger whose package is not installed. Raises ConfigError."""
    for name in names:
        if name in _PACKAGES:
            found = find_spec(name)
            if found is None or found.origin is None:  # a folder of that name is no package
                raise ConfigError(f"logger={name} needs a package that is not there; pip install 'unroll[{name}]'")


def loggers_of(config: Config, run_dir: Path, start: Start | None) -> list[Logger]:
    """Return the loggers of a run, opened, in the order of `config.logger`; of ranks but the first none.

    Args:
        config: of the run.
        run_dir: its folder.
        start: where it is resumed. What was logged after that is logged again.

    Raises:
        UserError: a logger can't begin.
    """
    return [_opened(name, config, run_dir, start) for name in config.logger] if ranks.rank() == 0 else []


def _opened(name: str, config: Config, run_dir: Path, start: Start | None) -> Logger:
    try:
        return _OPEN[name](config, run_dir, start)
    except Exception as error:  # of a disk, a server, or the package itself
        reason = shown(f"{type(error).__name__}: {error}".partition("\n")[0], 2 * LONGEST)
        raise UserError(f"logger={name} can't begin ({reason}); remove the cause, or leave it out of logger") from error


def _tensorboard(config: Config, run_dir: Path, start: Start | None) -> Logger:
    purge_step = None if start is None else start.step + 1  # what is logged again, TensorBoard forgets
    return TensorBoardLogger(run_dir, name="", version="tensorboard", purge_step=purge_step)


def _csv(config: Config, run_dir: Path, start: Start | None) -> Logger:
    logger = CSVLogger(run_dir, name="", version="csv", flush_logs_every_n_steps=1)
    kept = [] if start is None else _rows(_metrics_csv(logger), start)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it deletes what is there, and says so
        writer: Any = logger.experiment
    writer.metrics = kept
    writer.save()
    logger.log_hyperparams(hyperparameters(config))
    return logger


def _metrics_csv(logger: CSVLogger) -> Path:
    return Path(logger.log_dir) / "metrics.csv"


def _rows(path: Path, start: Start) -> list[dict[str, str]]:
    """Return the rows that were written before a checkpoint was saved."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        lines = [line for line in file if line.endswith("\r\n")]  # the last may be half written
    rows = [{name: value for name, value in row.items() if value} for row in csv.DictReader(lines)]
    return [row for row in rows[: start.csv_rows] if int(row["step"]) <= start.step]


def csv_rows(loggers: Sequence[Logger]) -> dict[str, int]:
    """Return, for a checkpoint, how many rows `metrics.csv` has now; nothing without such a file.

    Steps alone do not tell what was logged before the checkpoint: the test, say, is logged at the last step.
    """
    counts = {}
    for logger in loggers:
        if isinstance(logger, CSVLogger) and (path := _metrics_csv(logger)).exists():
            with path.open(newline="") as file:
                counts["csv_rows"] = sum(1 for _ in file) - 1
    return counts


def _wandb(config: Config, run_dir: Path, start: Start | None) -> Logger:
    import wandb

    kept = run_dir / "wandb" / _RUN_ID
    if not kept.exists():
        kept.parent.mkdir(exist_ok=True)
        write_text(kept, secrets.token_hex(4))
    mode = os.environ.get("WANDB_MODE", "offline")
    run = wandb.init(
        project=os.environ.get("WANDB_PROJECT", config.task),
        name=run_dir.name,
        dir=run_dir,
        id=kept.read_text(encoding="utf-8"),
        resume=None if mode == "offline" else "allow",  # offline it is `wandb sync` that puts the parts together
        mode=mode,
        reinit="finish_previous",  # of a run in this process that ended before it could close its own
        config=hyperparameters(config),
        allow_val_change=True,
        settings=wandb.Settings(console="off", silent=mode == "offline"),
    )
    # As Lightning does in a run that it begins itself.
    run.define_metric("trainer/global_step")
    run.define_metric("*", step_metric="trainer/global_step", step_sync=True)
    return WandbLogger(experiment=run)


class _MLflow(MLFlowLogger):
    """Lightning's leaves out the characters that it takes to be none of MLflow's. Two classes would have one name, or
    one would have none, at which MLflow ends the run: here such a character becomes its number."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        super().log_metrics({_portable(name): value for name, value in metrics.items()}, step)


def _portable(name: str) -> str:
    """Return the name of a figure, `val/f1/CLASS`, say, with numbers in place of unusual signs of the class.

    >>> _portable("val/f1/not bad"), _portable("val/f1/a:b"), _portable("val/f1/海")
    ('val/f1/not bad', 'val/f1/a_3a_b', 'val/f1/_6d77_')
    """
    *groups, last = name.split("/", 2)
    last = re.sub(r"[^A-Za-z0-9_ -]", lambda sign: f"_{ord(sign[0]):x}_", last)
    return "/".join([*groups, last])[:_LONGEST_METRIC]


def _mlflow(config: Config, run_dir: Path, start: Start | None) -> Logger:
    import_module("mlflow")  # it sets the level of its messages

    for name in ("mlflow", "lightning.pytorch.loggers.mlflow"):
        logging.getLogger(name).setLevel(logging.ERROR)  # they say that they make what is not there
    folder = (run_dir / "mlflow").resolve()
    folder.mkdir(exist_ok=True)
    kept, server = folder / _RUN_ID, os.environ.get("MLFLOW_TRACKING_URI")
    logger = _MLflow(
        experiment_name=os.environ.get("MLFLOW_EXPERIMENT_NAME", config.task),
        run_name=run_dir.name,
        tracking_uri=server or f"sqlite:///{folder}/mlflow.db",
        artifact_location=None if server else f"{folder.as_uri()}/artifacts",
        run_id=kept.read_text(encoding="utf-8") if kept.exists() else None,
    )
    if kept.exists():
        logger.experiment.update_run(logger.run_id, status="RUNNING")
    else:
        write_text(kept, str(logger.run_id))
        logger.log_hyperparams(hyperparameters(config))  # once: MLflow refuses to change them
    return logger


_OPEN: dict[str, Callable[[Config, Path, Start | None], Logger]] = {
    "tensorboard": _tensorboard,
    "csv": _csv,
    "wandb": _wandb,
    "mlflow": _mlflow,
}


@dataclass(frozen=True)
class Board:
    """Shows pictures and texts in each logger that can."""

    loggers: Sequence[Any]
    step: int  # at which it shows them: optimiser steps done

    def figure(self, name: str, figure: Figure) -> None:
        """Show a picture."""
        for logger in self.loggers:
            match logger:
                case TensorBoardLogger():
                    logger.experiment.add_figure(name, figure, self.step)
                case WandbLogger():
                    logger.log_image(name, [figure], self.step)
                case MLFlowLogger():
                    logger.experiment.log_figure(logger.run_id, figure, f"{name}/{self.step:08}.png")

    def text(self, name: str, markdown: str) -> None:
        """Show a text in Markdown; TensorBoard makes a page of it for the others."""
        from tensorboard.plugin_util import markdown_to_safe_html

        for logger in self.loggers:
            match logger:
                case TensorBoardLogger():
                    logger.experiment.add_text(name, markdown, self.step)
                case WandbLogger():
                    import wandb

                    page: Any = wandb.Html(markdown_to_safe_html(markdown), inject=False)
                    logger.log_metrics({name: page}, self.step)
                case MLFlowLogger():
                    page = markdown_to_safe_html(markdown)
                    logger.experiment.log_text(logger.run_id, page, f"{name}/{self.step:08}.html")


def board(trainer: Trainer) -> Board | None:
    """Return where pictures and texts are shown; None where no logger shows any, on other ranks than the first, and in
    Lightning's sanity check before the training."""
    able = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger | WandbLogger | MLFlowLogger)]
    return Board(able, trainer.global_step) if able and not trainer.sanity_checking else None


def save(loggers: Sequence[Logger]) -> None:
    """Write what was logged, so that it is not lost where the run is killed after.

    Raises:
        UserError: the folder of one is gone.
    """
    for logger in loggers:
        if logger.log_dir is not None and not Path(logger.log_dir).is_dir():
            raise UserError(f"{logger.log_dir}: the folder is gone; what was logged there is lost")
        logger.save()


def compare(loggers: Sequence[Logger], config: Config, figures: Mapping[str, float], step: int) -> None:
    """Log settings and final figures side by side, in TensorBoard's HPARAMS. The others have both from elsewhere."""
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.log_hyperparams(hyperparameters(config), dict(figures), step=step)


def close(loggers: Sequence[Logger], *, completed: bool) -> None:
    """End the loggers of a run: another run of this process begins its own."""
    for logger in loggers:
        logger.finalize("success" if completed else "failed")
        if isinstance(logger, WandbLogger):
            logger.experiment.finish(exit_code=0 if completed else 1)
