"""What a run shows while it trains: counts, TensorBoard's scalars, and the progress on the screen."""

from __future__ import annotations

import resource
import sys
import time
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from unroll.tasks.task import Task

MEBIBYTE = 2**20


class Throughput(Callback):
    """Counts steps, tokens and the seconds of training, and logs what each stretch of steps was like.

    Every `every_n_steps` batches: what the task's training step returns (`train/loss`, …: means over the stretch's
    examples), `train/learning_rate`, `train/gradient_norm` (mean, before clipping), `train/clipped` (share of steps)
    and `train/tokens_per_second` (padding not counted). The clock stands still in validation.
    """

    def __init__(self, every_n_steps: int) -> None:
        self.every_n_steps = every_n_steps
        self.tokens = 0
        self.seconds = 0.0
        self.latest: dict[str, float] = {}  # the figures of the last stretch
        self._started: float | None = None
        self._forget()

    def _forget(self) -> None:
        self._batches = self._stretch_tokens = 0
        self._stretch_began = self.seconds
        self._means: dict[str, list[tuple[Tensor, int]]] = {}  # of each batch, and its weight

    def _start(self) -> None:
        self._started = time.perf_counter()

    def _stop(self) -> None:
        if self._started is not None:
            self.seconds += time.perf_counter() - self._started
            self._started = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._start()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._stop()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._stop()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._start()

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        tokens, examples = batch.num_tokens, batch.num_examples
        self.tokens += tokens
        self._batches += 1
        self._stretch_tokens += tokens
        for values, weight in ((outputs, examples), (pl_module.gradient, 1)):
            for name, value in values.items():
                self._means.setdefault(name, []).append((value.detach(), weight))
        pl_module.gradient = {}  # of a step, which several batches may make together
        if self._batches == self.every_n_steps or trainer.is_last_batch:
            self._log(trainer)

    def _log(self, trainer: Trainer) -> None:
        self._stop()
        self._start()
        figures = {f"train/{name}": _weighted(means) for name, means in self._means.items()}
        figures["train/learning_rate"] = trainer.optimizers[0].param_groups[0]["lr"]
        figures["train/tokens_per_second"] = self._stretch_tokens / (self.seconds - self._stretch_began)
        self.latest = figures
        for logger in trainer.loggers:
            logger.log_metrics(figures, step=trainer.global_step)
        self._forget()

    def state_dict(self) -> dict[str, Any]:
        if self._started is not None:
            self._stop()
            self._start()
        means = {
            name: {"values": torch.stack([value for value, _ in means]), "weights": [weight for _, weight in means]}
            for name, means in self._means.items()
        }
        counts = {"batches": self._batches, "tokens": self._stretch_tokens, "began": self._stretch_began}
        return {"tokens": self.tokens, "seconds": self.seconds, "stretch": counts | {"means": means}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.tokens, self.seconds, stretch = state_dict["tokens"], state_dict["seconds"], state_dict["stretch"]
        self._batches, self._stretch_tokens = stretch["batches"], stretch["tokens"]
        self._stretch_began = stretch["began"]
        self._means = {
            name: list(zip(means["values"].unbind(), means["weights"], strict=True))
            for name, means in stretch["means"].items()
        }

    def describe(self, trainer: Trainer) -> dict[str, Any]:
        """Return what `summary.json` says of the training."""
        return {
            "steps": trainer.global_step,
            "epochs": trainer.current_epoch,
            "tokens": self.tokens,
            "seconds": round(self.seconds, 3),
            "tokens_per_second": round(self.tokens / self.seconds, 1) if self.seconds else 0.0,
            "peak_memory_mib": round(peak_memory() / MEBIBYTE, 1),
        }


def _weighted(means: list[tuple[Tensor, int]]) -> float:
    weights = [weight for _, weight in means]
    values: list[float] = torch.stack([value for value, _ in means]).tolist()
    return sum(value * weight for value, weight in zip(values, weights, strict=True)) / sum(weights)


def peak_memory() -> int:
    """Return the most memory, in bytes, that this process has held."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


class ProgressLines(Callback):
    """Epoch, the task's figures, its speed and the time left: as a live bar in a terminal, else as plain lines."""

    def __init__(
        self, task: type[Task], throughput: Throughput, console: Console, seconds_between_lines: float = 10.0
    ) -> None:
        self.task, self.throughput = task, throughput
        self.console, self.seconds_between_lines = console, seconds_between_lines
        self._bar: Progress | None = None
        self._began = self._line = time.perf_counter()
        self._done_before = 0  # batches, where the run was gone on with

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

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        done, total = self._steps(trainer)
        if self._bar is not None:
            task = self._bar.tasks[0].id
            self._bar.update(task, completed=done, description=self._epoch(trainer), figures=self._figures())
        elif time.perf_counter() - self._line > self.seconds_between_lines:
            self._line = time.perf_counter()
            each = (self._line - self._began) / (done - self._done_before)
            left = "" if total is None else f"  {_clock(each * (total - done))} left"
            of = f"step {done}" + ("" if total is None else f" of {total}")
            self.console.print(f"{self._epoch(trainer)}  {of}  {self._figures()}{left}", highlight=False)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
        figures = "  ".join(f"{name} {value:.4f}" for name, value in metrics.items())
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
        return f"epoch {trainer.current_epoch + 1}{of}"

    def _figures(self) -> str:
        latest = self.throughput.latest
        if not latest:
            return ""
        figures = "  ".join(f"{name} {latest[f'train/{name}']:.3f}" for name in self.task.shown)
        return f"{figures}  {latest['train/tokens_per_second'] / 1000:.0f} k {self.task.unit}/s"


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(max(0, round(seconds)), 60)
    return f"{minutes}:{seconds:02}"
