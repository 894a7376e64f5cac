"""Keeping a run's results: checkpoints as it goes, and an orderly stop on a signal."""

from __future__ import annotations

import math
import signal
from pathlib import Path
from types import FrameType
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.plugins.io import TorchCheckpointIO

from unroll import checkpoint
from unroll.errors import Diverged, Interrupted
from unroll.tasks.finite import all_finite


class DurableIO(TorchCheckpointIO):
    """Writes checkpoints atomically into the target folder, and reads them as data only."""

    def save_checkpoint(self, checkpoint_: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        checkpoint.save(checkpoint_, Path(path))

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        return checkpoint.load(Path(path))


class Checkpoints(Callback):
    """Keeps `best.ckpt` (by a validation metric) and `last.ckpt` in a folder."""

    def __init__(self, folder: Path, monitor: str, mode: str, every_n_steps: int | None = None) -> None:
        """Save `last.ckpt` after each validation, and every `every_n_steps` optimiser steps if given.

        Args:
            folder: made when it is needed.
            monitor: the name of the metric.
            mode: "max" or "min", which is better.
            every_n_steps: optimiser steps.
        """
        self.folder, self.monitor, self.mode, self.every_n_steps = folder, monitor, mode, every_n_steps
        self.best_metrics: dict[str, float] = {}  # the validation that `best.ckpt` was saved after
        self._saved_step = -1

    @property
    def best(self) -> Path:
        return self.folder / "best.ckpt"

    @property
    def last(self) -> Path:
        return self.folder / "last.ckpt"

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.global_step
        if self.every_n_steps and step % self.every_n_steps == 0 and step != self._saved_step:
            self.save_last(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
        if self._is_best(metrics):
            self.best_metrics = metrics
            self._save(trainer, self.best)
        self.save_last(trainer)

    def _is_best(self, metrics: dict[str, float]) -> bool:
        """A figure that is no number is never the best."""
        value = metrics.get(self.monitor, math.nan)
        if self.mode == "min":
            return value < self.best_metrics.get(self.monitor, math.inf)
        return value > self.best_metrics.get(self.monitor, -math.inf)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.global_step != self._saved_step:
            self.save_last(trainer)

    def save_last(self, trainer: Trainer) -> None:
        """Write `last.ckpt` as the run stands now."""
        self._saved_step = trainer.global_step
        self._save(trainer, self.last)

    def _save(self, trainer: Trainer, path: Path) -> None:
        if not all_finite(trainer.lightning_module.parameters()):
            raise Diverged(
                f"training diverged: a weight is not finite after step {trainer.global_step}; lower "
                "optimizer.learning_rate"
            )
        trainer.save_checkpoint(path)

    def state_dict(self) -> dict[str, Any]:
        return {"best_metrics": self.best_metrics}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best_metrics = state_dict["best_metrics"]


class StopOnSignal(Callback):
    """On SIGINT or SIGTERM while training: finish the step, save `last.ckpt`, stop. A second signal ends at once."""

    def __init__(self, checkpoints: Checkpoints) -> None:
        self.checkpoints = checkpoints
        self._received: int | None = None
        self._before: dict[int, Any] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Here, and not earlier, so that this comes after Lightning's own handlers, which exit without saving.
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._receive)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._received = number
        self._restore()

    def _restore(self) -> None:
        while self._before:
            number, handler = self._before.popitem()
            signal.signal(number, handler if number == signal.SIGINT else signal.SIG_DFL)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._received is not None:
            self.checkpoints.save_last(trainer)
            name = signal.Signals(self._received).name
            raise Interrupted(f"stopped by {name}; the run is saved in {self.checkpoints.last}", self._received)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._restore()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._restore()
