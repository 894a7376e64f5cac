"""The progress on the screen."""

from __future__ import annotations

import time
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from unroll.tasks.spec import TaskSpec
from unroll.training.callbacks.tensorboard import Throughput


class ProgressLines(Callback):
    """Epoch, the task's figures, its speed and the time left: as a live bar in a terminal, else as plain lines."""

    def __init__(
        self, spec: TaskSpec, throughput: Throughput, console: Console, seconds_between_lines: float = 10.0
    ) -> None:
        self.spec, self.throughput = spec, throughput
        self.console, self.seconds_between_lines = console, seconds_between_lines
        self._bar: Progress | None = None
        self._began = self._line = time.perf_counter()
        self._done_before = 0  # batches, where the run was resumed

    def _steps(self, trainer: Trainer) -> tuple[int, int | None]:
        """Batches done and, where the run's length is known, batches in all."""
        done = trainer.fit_loop.epoch_loop.total_batch_idx + 1
        if trainer.max_steps != -1:
            return done, trainer.max_steps * trainer.accumulate_grad_batches
        return done, int(trainer.num_training_batches * trainer.max_epochs) if trainer.max_epochs else None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._began = self._line = time.perf_counter()
        self._done_before = max(0, self._steps(trainer)[0] - 1)
        if self.console.is_terminal:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.percentage:>3.0f} %"),
                TimeRemainingColumn(),
                TextColumn("left"),
                TextColumn("{task.fields[figures]}"),
            )
            self._bar = Progress(*columns, console=self.console, refresh_per_second=4)
            self._bar.start()
            self._bar.add_task("training", total=self._steps(trainer)[1], figures="")

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        done, total = self._steps(trainer)
        figures = self._figures(pl_module.shown)
        if self._bar is not None:
            task = self._bar.tasks[0].id
            self._bar.update(task, completed=done, description=self._epoch(trainer), figures=figures)
        elif time.perf_counter() - self._line > self.seconds_between_lines:
            self._line = time.perf_counter()
            each = (self._line - self._began) / (done - self._done_before)
            left = "" if total is None else f"  {_clock(each * (total - done))} left"
            of = f"step {done}" + ("" if total is None else f" of {total}")
            self.console.print(f"{self._epoch(trainer)}  {of}  {figures}{left}", highlight=False)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking or trainer.state.fn == "test":
            return
        # Those of single classes, val/NAME/CLASS, are for TensorBoard.
        metrics = {name: value for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
        figures = "  ".join(f"{name} {float(value):.4f}" for name, value in metrics.items() if name.count("/") == 1)
        self.console.print(f"{self._epoch(trainer)}  {figures}", highlight=False)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _epoch(self, trainer: Trainer) -> str:
        of = f"/{trainer.max_epochs}" if trainer.max_epochs and trainer.max_epochs > 0 else ""
        # After the training, when a short run is validated, the epoch has been counted already.
        return f"epoch {trainer.current_epoch + (trainer.state.fn == 'fit')}{of}"

    def _figures(self, shown: tuple[str, ...]) -> str:
        latest = self.throughput.latest
        if not latest:
            return ""
        figures = "  ".join(f"{name} {latest[f'train/{name}']:.3f}" for name in shown)
        return f"{figures}  {latest['train/tokens_per_second'] / 1000:.0f} k {self.spec.unit}/s"


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(max(0, round(seconds)), 60)
    return f"{minutes}:{seconds:02}"
