"""An orderly stop on a signal."""

from __future__ import annotations

import signal
from pathlib import Path
from types import FrameType
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from unroll import ranks
from unroll.commands import resuming
from unroll.errors import Elsewhere, Interrupted
from unroll.training.callbacks.checkpointing import Checkpointing

# Windows has no SIGHUP.
_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class StopOnSignal(Callback):
    """On SIGINT, SIGTERM or SIGHUP: finish the step, and the validation if one has begun, save `last.ckpt`, stop.

    A second signal ends at once. SIGHUP stays ignored where it is, as under nohup.
    """

    def __init__(self, checkpoints: Checkpointing, run_dir: Path) -> None:
        self.checkpoints, self.run_dir = checkpoints, run_dir
        self._before: dict[int, Any] = {}

    # At these places, and not earlier, so that this comes after Lightning's own handlers, which exit without saving.
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._install()

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._install()

    def _install(self) -> None:
        for number in _SIGNALS:
            before = signal.getsignal(number)
            if number == signal.SIGINT or before != signal.SIG_IGN:
                self._before.setdefault(number, before)
                signal.signal(number, self._receive)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.checkpoints.received = number
        self._restore()

    def _restore(self) -> None:
        while self._before:
            number, handler = self._before.popitem()
            signal.signal(number, handler if number == signal.SIGINT else signal.SIG_DFL)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if self.checkpoints.has_stopped:
            self._stop()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._restore()
        self._stop()

    def on_test_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self.checkpoints.agree()
        self._stop()

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._restore()

    def _stop(self) -> None:
        if (number := self.checkpoints.agreed) and ranks.rank():
            raise Elsewhere(128 + number)
        if number:
            name = signal.Signals(number).name
            raise Interrupted(f"stopped by {name}; the run is saved; resume it: {resuming(self.run_dir)}", number)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._restore()
