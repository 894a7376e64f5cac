"""The progress of a run on the screen."""

from __future__ import annotations

import math
import time
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from unroll.progress import Task, begin, say
from unroll.tasks.spec import TaskSpec
from unroll.training.callbacks.throughput import Throughput


class ProgressBars(Callback):
    """Shows epoch, the task's figures, its speed and the time left, and bars of validation and test.

    The time left counts validations from the second on: the first one shows how long they take.
    """

    def __init__(self, spec: TaskSpec, throughput: Throughput) -> None:
        self.spec, self.throughput = spec, throughput
        self._training: Task | None = None
        self._evaluation: Task | None = None
        self._first = 0  # batches that were done before this process trained
        self._seconds_before = 0.0  # of training, likewise
        self._evaluation_began = self._seconds_per_validation = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        done, total = self._batches(trainer)
        self._first, self._seconds_before = max(0, done - 1), self.throughput.seconds
        self._training = begin("training", total, "batches")

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        assert self._training is not None
        done, total = self._batches(trainer)
        left = None if total is None else self._seconds_left(trainer, done, total)
        figures = self._figures(pl_module.shown)
        self._training.update(done, figures, description=self._epoch(trainer), seconds_left=left)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begin_evaluation("validation", trainer.num_val_batches, trainer)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begin_evaluation("test", trainer.num_test_batches, trainer)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if self._evaluation is not None:
            self._evaluation.update(batch_idx + 1)

    on_test_batch_end = on_validation_batch_end

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._end_evaluation()
        self._seconds_per_validation = time.perf_counter() - self._evaluation_began
        if trainer.sanity_checking or trainer.state.fn == "test":
            return
        # Those of single classes, val/NAME/CLASS, are for TensorBoard.
        metrics = {name: value for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
        figures = "  ".join(f"{name} {float(value):.4f}" for name, value in metrics.items() if name.count("/") == 1)
        say(f"{self._epoch(trainer)}  {figures}")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._end_evaluation()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._end()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._end_evaluation()
        self._end()

    def _end(self) -> None:
        if self._training is not None:
            self._training.end()
            self._training = None

    def _begin_evaluation(self, name: str, batches: list[int | float], trainer: Trainer) -> None:
        self._evaluation_began = time.perf_counter()
        self._evaluation = begin(name, sum(batches) if math.isfinite(sum(batches)) else None, "batches")

    def _end_evaluation(self) -> None:
        if self._evaluation is not None:
            self._evaluation.end()
            self._evaluation = None

    def _batches(self, trainer: Trainer) -> tuple[int, int | None]:
        """Batches done and, where the run's length is known, batches in all."""
        done = trainer.fit_loop.epoch_loop.total_batch_idx + 1
        if trainer.max_steps != -1:
            return done, trainer.max_steps * trainer.accumulate_grad_batches
        return done, int(trainer.num_training_batches * trainer.max_epochs) if trainer.max_epochs else None

    def _seconds_left(self, trainer: Trainer, done: int, total: int) -> float:
        each = (self.throughput.now() - self._seconds_before) / max(1, done - self._first)
        between = (trainer.val_check_batch or math.inf) * (trainer.check_val_every_n_epoch or 1)  # two validations
        validations = total // between - done // between
        return each * (total - done) + validations * self._seconds_per_validation

    def _epoch(self, trainer: Trainer) -> str:
        of = f"/{trainer.max_epochs}" if trainer.max_epochs and trainer.max_epochs > 0 else ""
        # After the training, when a short run is validated, the epoch has been counted already.
        return f"epoch {trainer.current_epoch + (trainer.state.fn == 'fit')}{of}"

    def _figures(self, shown: tuple[str, ...]) -> str:
        latest = self.throughput.latest
        if not latest:
            return ""
        figures = "  ".join(f"{name} {latest[f'train/{name}']:.3f}" for name in shown if f"train/{name}" in latest)
        return f"{figures}  {latest['train/tokens_per_second'] / 1000:.0f} k {self.spec.unit}/s"
