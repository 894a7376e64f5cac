"""What the LightningModules of all tasks have in common: clipping, the optimiser, and what a checkpoint says."""

from __future__ import annotations

import math
import platform
from importlib import metadata
from typing import Any, ClassVar

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer

import unroll
from unroll import checkpoint
from unroll.config import Config, to_dict
from unroll.encoders import State
from unroll.errors import Diverged
from unroll.tasks.data import TaskData
from unroll.tasks.finite import Outputs, not_finite_gradients
from unroll.tasks.optimization import build_optimizer, build_schedule


class TaskModule(LightningModule):
    """A model in training. `training_step` returns `loss` and other means over the batch, to be logged as train/….

    Each batch says how many tokens it holds (`num_tokens`), and over how many examples those means go
    (`num_examples`). A loss or a gradient that is not finite ends the run before the optimiser has seen it.
    """

    monitor: ClassVar[str]  # what the best checkpoint is best at
    monitor_mode: ClassVar[str]  # "max" or "min"
    shown: ClassVar[tuple[str, ...]]  # figures of training that the progress shows, in its order

    config: Any
    model: Any

    def __init__(self, config: Config, model: nn.Module, data: TaskData, total_steps: int | None) -> None:
        """Take an untrained model.

        Args:
            config: all settings of the run.
            model: called `model` in state dicts.
            data: that it is trained on; what a checkpoint says of them is kept, and they are not.
            total_steps: optimiser steps of the whole run, for the schedule; None where nobody knows.
        """
        super().__init__()
        self.config, self.model, self.total_steps = config, model, total_steps
        self.about_data = data.about() | {"data": data.describe()}
        self.gradient: dict[str, Tensor] = {}  # of this step: its norm before clipping, and whether it was clipped
        self._outputs = Outputs(model)

    def on_before_backward(self, loss: Tensor) -> None:
        if not math.isfinite(loss.item()):
            raise self._diverged(f"the loss is {loss.item()}, first in {self._outputs.first_not_finite() or 'itself'}")
        self._outputs.forget()

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip as Lightning does, though it refuses fused optimisers, and note the norm of the whole gradient."""
        parameters = [parameter for parameter in self.parameters() if parameter.grad is not None]
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        if not math.isfinite(norm.item()):
            of = not_finite_gradients(self.model.named_parameters())
            raise self._diverged(f"the gradient's norm is {norm.item()}, because of {of}")
        self.gradient = {"gradient_norm": norm}
        if gradient_clip_val and gradient_clip_algorithm == "value":
            largest = torch.nn.utils.get_total_norm(gradients, norm_type=torch.inf)
            self.gradient["clipped"] = (largest > gradient_clip_val).float()
            torch.nn.utils.clip_grad_value_(parameters, gradient_clip_val)
        elif gradient_clip_val:
            self.gradient["clipped"] = (norm > gradient_clip_val).float()
            torch.nn.utils.clip_grads_with_norm_(parameters, gradient_clip_val, norm)

    def _diverged(self, what: str) -> Diverged:
        trainer = self.trainer
        epoch, batch = trainer.current_epoch + 1, trainer.fit_loop.batch_idx + 1
        place = f"step {trainer.global_step + 1} (epoch {epoch}, batch {batch})"
        clip = "" if trainer.gradient_clip_val else ", or write trainer.gradient_clip_val=1.0"
        return Diverged(f"training diverged at {place}: {what}; lower optimizer.learning_rate{clip}")

    def carried_state(self) -> State | None:
        """Return the encoder's state that is carried from batch to batch in training; None where none is."""
        return None

    def configure_optimizers(self) -> Any:
        optimizer = build_optimizer(self.model, self.config.optimizer)
        schedule = build_schedule(optimizer, self.total_steps or 1, self.config.optimizer)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint_: dict[str, Any]) -> None:
        """Add all that a model needs to be used where nothing else of this run is at hand."""
        checkpoint_ |= {
            "format": checkpoint.FORMAT,
            "task": self.config.task,
            "config": to_dict(self.config),
            **self.about_data,
            "versions": versions(),
        }


def widened(logits: Tensor) -> Tensor:
    """Return the logits in float32 where mixed precision made them narrower, for the sums of a loss."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def versions() -> dict[str, str]:
    """Return the versions that a result depends on."""
    return {
        "unroll": unroll.__version__,
        "torch": metadata.version("torch"),
        "lightning": metadata.version("lightning"),
        "python": platform.python_version(),
    }
