"""Checkpoints that a run is resumed from as if it had never stopped."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.plugins.io import TorchCheckpointIO

from unroll import checkpoint, durable, ranks
from unroll.errors import Diverged
from unroll.tasks.finite import all_finite
from unroll.training import lightning_loops, loggers

SECONDS_BETWEEN_AGREEMENTS = 0.5


class DurableIO(TorchCheckpointIO):
    """Writes checkpoints atomically into the target folder, and reads them as data only."""

    def save_checkpoint(self, checkpoint_: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        checkpoint.save(checkpoint_, Path(path))

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        return checkpoint.load(Path(path))


class Checkpointing(Callback):
    """Keeps `best.ckpt` (by a validation metric), `last.ckpt` and the one before it, `previous.ckpt`, in a folder.

    `last.ckpt` is saved where a batch begins, when all before it is done: the optimiser's step, and the validation if
    there was one. So there is one kind of place to resume from, and nothing is done twice or left out. Besides what
    Lightning keeps, the loader's place among it, a checkpoint holds the random states of all ranks. Ranks
    save together: the clock is that of rank 0, and a signal to one stops all, see `StopOnSignal`.
    """

    def __init__(
        self,
        folder: Path,
        monitor: str,
        mode: str,
        every_n_steps: int | None,
        every_n_minutes: float | None,
        reopen: Callable[[], None] | None = None,
    ) -> None:
        """Save `last.ckpt` after each validation, at the end, and every so often.

        Args:
            folder: made when it is needed.
            monitor: the name of the metric.
            mode: "max" or "min", which is better.
            every_n_steps: optimiser steps.
            every_n_minutes: since the last time.
            reopen: where a run that had finished is continued: called in all processes, before it is first saved.
        """
        self._reopen, self._extends = reopen, reopen is not None
        self.folder, self.monitor, self.mode = folder, monitor, mode
        self.every_n_steps, self.every_n_minutes = every_n_steps, every_n_minutes
        self.best_metrics: dict[str, float] = {}  # the validation that `best.ckpt` was saved after
        self._validated = self._finished = False
        self._saved_step, self._saved_at = 0, time.monotonic()
        self._agree_at = self._agreed_step = 0  # steps: the next agreement of all ranks, and the last
        self._agreed_at = time.monotonic()
        self._position: dict[str, int] | None = None  # of the batch that begins
        self._random: dict[str, Any] | None = None  # to be restored when training begins
        self.received = 0  # a signal to this rank
        self.agreed = 0  # a signal that all ranks know of. It stops the run where it is saved next
        self.has_stopped = False  # all ranks, saved, at the beginning of this batch

    @property
    def best(self) -> Path:
        return self.folder / "best.ckpt"

    @property
    def last(self) -> Path:
        return self.folder / "last.ckpt"

    @property
    def previous(self) -> Path:
        return self.folder / "previous.ckpt"

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if batch_idx % trainer.accumulate_grad_batches:
            return
        self._position = {"epoch": trainer.current_epoch, "batch": batch_idx}
        step = trainer.global_step
        is_due = self._validated or bool(self.every_n_steps and step % self.every_n_steps == 0)
        self.has_stopped = False
        if step >= self._agree_at:
            is_late, self.has_stopped = self._agree(step)
            is_due = is_due or is_late
        if self.has_stopped or (is_due and (self._validated or step != self._saved_step)):
            self.save_last(trainer)

    def _agree(self, step: int) -> tuple[bool, bool]:
        """Return whether it is time to save, by rank 0's clock, and whether a signal came to any rank.

        Waits for all ranks. That takes a millisecond, so they do it about twice a second, and not at each step.
        """
        now = time.monotonic()
        is_late = self.every_n_minutes is not None and now - self._saved_at >= 60 * self.every_n_minutes
        steps, microseconds = step - self._agreed_step, int(1e6 * (now - self._agreed_at))
        self._agreed_at, self._agreed_step = now, step
        late, self.agreed, longest = ranks.largest([is_late and ranks.rank() == 0, self.received, microseconds])
        pause = int(1e6 * SECONDS_BETWEEN_AGREEMENTS * steps / max(1, longest)) if ranks.world_size() > 1 else 1
        self._agree_at = step + max(1, pause)
        return bool(late), bool(self.agreed)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._position = None

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking or trainer.state.fn == "test":
            return
        self._validated = True
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
        if self._is_best(metrics):
            self.best_metrics = metrics
            _check(trainer)
            trainer.save_checkpoint(self.best)

    def _is_best(self, metrics: dict[str, float]) -> bool:
        """A figure that is no number is never the best."""
        value = metrics.get(self.monitor, math.nan)
        if self.mode == "min":
            return value < self.best_metrics.get(self.monitor, math.inf)
        return value > self.best_metrics.get(self.monitor, -math.inf)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._finished = True
        self.agree()
        self.save_last(trainer)

    def agree(self) -> None:
        """Find out whether any rank has received a signal. Waits for all ranks. One that comes meanwhile is found the
        next time."""
        (self.agreed,) = ranks.largest([self.received])

    def save_last(self, trainer: Trainer) -> None:
        """Write `last.ckpt` as the run stands now."""
        self._validated, self._saved_step, self._saved_at = False, trainer.global_step, time.monotonic()
        loggers.save(trainer.loggers)
        _check(trainer)
        if self._reopen is not None:
            self._reopen()
            self._reopen = None
        if ranks.rank() == 0:
            durable.keep(self.last, self.previous)
        trainer.save_checkpoint(self.last)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        own, *others = ranks.gathered(_random_state(pl_module.device))
        checkpoint |= {"random": own | {"others": others}, **loggers.csv_rows(trainer.loggers)}
        if self._position is not None:
            lightning_loops.take_back(trainer, checkpoint["loops"], self._position)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self._random, self._saved_step = checkpoint["random"], checkpoint["global_step"]
        if self._extends:
            lightning_loops.reopen(checkpoint["loops"])

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._saved_at, self._finished = time.monotonic(), False
        self._agree_at = self._agreed_step = trainer.global_step
        self._agreed_at = self._saved_at
        if self._random is not None:
            lightning_loops.begin_again(trainer)
        self._set_random_state(pl_module.device)

    def _set_random_state(self, device: torch.device) -> None:
        """Restore this rank's random state. One that the saved run did not have, gets a new one."""
        rank, saved = ranks.rank(), self._random
        states = [] if saved is None else [saved, *saved.get("others", [])]
        if rank < len(states):
            torch.set_rng_state(states[rank]["cpu"])
            if device.type == "cuda" and states[rank]["cuda"]:
                torch.cuda.set_rng_state(states[rank]["cuda"][0], device)
        elif rank:
            torch.manual_seed(torch.initial_seed() + (rank << 40) + (self._saved_step << 8))

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._finished and not self._extends:  # early, perhaps, which Lightning does not remember
            trainer.should_stop = True

    def state_dict(self) -> dict[str, Any]:
        return {"best_metrics": self.best_metrics, "finished": self._finished}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best_metrics, self._finished = state_dict["best_metrics"], state_dict["finished"]


def _random_state(device: torch.device) -> dict[str, Any]:
    cuda = [torch.cuda.get_rng_state(device)] if device.type == "cuda" else []
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def _check(trainer: Trainer) -> None:
    if not all_finite(trainer.lightning_module.parameters()):
        raise Diverged(
            f"training diverged: a weight is not finite after step {trainer.global_step}; lower optimizer.learning_rate"
        )
