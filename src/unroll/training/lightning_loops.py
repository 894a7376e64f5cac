"""The private parts of Lightning's loops that an exact resume needs, all in this place.

Lightning saves its loops as they stand between batches or after a validation. `Checkpointing` saves where a batch
begins, which Lightning has counted already. `tests/training/test_lightning_loops.py` says what breaks if they change.
"""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Trainer


def take_back(trainer: Trainer, loops: dict[str, Any], position: dict[str, int]) -> None:
    """Change the saved state of the loops such that the batch which has just begun is the next.

    Args:
        trainer: which runs them.
        loops: of a checkpoint; changed in place.
        position: the `epoch`, and the `batch` in it.
    """
    loop = loops["fit_loop"]
    loop["epoch_loop.batch_progress"]["is_last_batch"] = False
    loop["state_dict"]["combined_loader"] = [position]
    if not trainer.fit_loop._should_accumulate():  # then it adds one when it is restored
        loop["epoch_loop.state_dict"]["_batches_that_stepped"] -= 1


def reopen(loops: dict[str, Any]) -> None:
    """Change the saved state of a run that had finished such that it can be continued: an epoch that its end cut short
    is not over."""
    loop = loops["fit_loop"]
    if not loop["epoch_loop.batch_progress"]["is_last_batch"]:
        for count in loop["epoch_progress"].values():
            count["processed"] -= 1
            count["completed"] -= 1


def begin_again(trainer: Trainer) -> None:
    """Have the batch that began when the run was saved begin again, which Lightning would count twice; after the last
    batch of an epoch a new one begins."""
    loop = trainer.fit_loop.epoch_loop
    loop.batch_progress.total.reset_on_restart()
    if loop.batch_progress.is_last_batch:
        loop.restarting = False
