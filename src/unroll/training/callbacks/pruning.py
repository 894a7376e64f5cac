"""What a sweep hears of a run, and how it stops one early."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from unroll.errors import Pruned


class Pruning(Callback):
    """Reports a metric after each validation, and stops the run, after saving, where that is the answer.

    It stops where the next batch begins: a run whose last validation it was is complete. Validations are numbered from
    0 by their place in the run, so that a resumed run gives each the number that it had.
    """

    def __init__(self, value: Callable[[Mapping[str, Any]], float], report: Callable[[int, float], bool]) -> None:
        """Take two functions.

        Args:
            value: returns the metric out of all those of a validation.
            report: called with the validation's number and the metric; returns whether to stop.
        """
        self._value, self._report = value, report
        self._stops = False

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._stops = self._report(_number(trainer), self._value(trainer.callback_metrics))

    # After `Checkpointing` and `StopOnSignal`: saved it is, and a signal goes before.
    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if self._stops and batch_idx % trainer.accumulate_grad_batches == 0:
            raise Pruned("other trials of the sweep do better")


def _number(trainer: Trainer) -> int:
    every = int(trainer.val_check_batch or 1)
    earlier = trainer.current_epoch // (trainer.check_val_every_n_epoch or 1)
    return earlier * (int(trainer.num_training_batches) // every) + (trainer.fit_loop.batch_idx + 1) // every - 1
