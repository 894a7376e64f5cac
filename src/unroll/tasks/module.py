"""What the LightningModules of all tasks share: evaluation, clipping, the optimiser, and what a checkpoint holds."""

from __future__ import annotations

import math
import platform
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from functools import cache
from importlib import metadata
from typing import Any, ClassVar

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer

import unroll
from unroll import checkpoint
from unroll.batching.part import share_of
from unroll.config import Config, to_dict
from unroll.encoders import State
from unroll.errors import Diverged
from unroll.tasks.data import TaskData
from unroll.tasks.finite import Outputs, not_finite_gradients
from unroll.tasks.optimization import build_optimizer, build_schedule
from unroll.tasks.row_adam import coalesced, embed_by_rows, entries

MOST_CURVES = 30  # of one metric: of ten classes precision, recall and F1


class TaskModule(LightningModule, ABC):
    """A model in training. A task defines `training_step` and `evaluate`.

    `training_step` returns the `loss` and other means over the batch, which are logged as train/…. A batch has the
    attributes `num_tokens` and `num_examples`, the number that those means are over. If the loss or the gradient is not
    finite, the run ends before the optimiser uses it.

    Where several processes share a batch, the attribute `part` says which part this one has, and the mean of what all
    processes return must be the mean over the batch; see `unroll.batching.part`. A task whose batches have no parts
    trains every process on the whole of each.
    """

    monitor: ClassVar[str]  # the figure that chooses the best checkpoint
    monitor_mode: ClassVar[str]  # "max" or "min"
    shown: ClassVar[tuple[str, ...]]  # figures of training beside the progress bar, in order

    config: Any
    model: Any
    metrics: Any

    def __init__(
        self,
        config: Config,
        model: nn.Module,
        data: TaskData,
        total_steps: int | None,
        metrics: Callable[[], Iterable[nn.Module]] = tuple,
    ) -> None:
        """Take an untrained model.

        Args:
            config: all settings of the run.
            model: its weights are `model.…` in state dicts.
            data: the training data; only its description, for checkpoints, is kept.
            total_steps: optimiser steps of the whole run, for the schedule; None if unknown.
            metrics: makes the torchmetrics of one split. `evaluate` updates them; at the end they are logged as val/…
                or test/….
        """
        super().__init__()
        self.config, self.model, self.total_steps = config, model, total_steps
        if config.optimizer.embedding == "rows":
            embed_by_rows(model)
        self.metrics = nn.ModuleDict({split: nn.ModuleList(metrics()) for split in ("val", "test")})
        self.about_data = data.about() | {"data": data.describe()}
        self.gradient: dict[str, Tensor] = {}  # of this step: its norm before clipping, and whether it was clipped
        self._outputs = Outputs(model)

    @abstractmethod
    def evaluate(self, batch: Any, split: str) -> Any:
        """Update `self.metrics[split]` with a batch. Callbacks get what this returns."""

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        return self._evaluate(batch, "val")

    def test_step(self, batch: Any, batch_idx: int) -> Any:
        return self._evaluate(batch, "test")

    def _evaluate(self, batch: Any, split: str) -> Any:
        if not share_of(getattr(batch, "part", None)):
            return None  # a spare, which another process evaluates
        # In float32 whatever the training's precision: a checkpoint in use gives the same figures.
        with torch.autocast(self.device.type, enabled=False):
            return self.evaluate(batch, split)

    def on_validation_epoch_end(self) -> None:
        self._log_metrics("val")

    def on_test_epoch_end(self) -> None:
        self._log_metrics("test")

    def _log_metrics(self, split: str) -> None:
        for metric in self.metrics[split]:
            figures = {f"{split}/{name}": value for name, value in metric.compute().items()}
            # Many classes get a table in TensorBoard instead of their curves; the summary has all figures.
            self.log_dict(figures, logger=len(figures) <= MOST_CURVES)
            metric.reset()

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
        """Clip as Lightning does, but with fused optimisers too, and keep the norm of the whole gradient."""
        # Of the model alone: the metrics have no parameters, and looking for them takes half a millisecond.
        parameters = [parameter for parameter in self.model.parameters() if parameter.grad is not None]
        for parameter in parameters:
            parameter.grad = None if parameter.grad is None else coalesced(parameter.grad)
        gradients = [entries(parameter.grad) for parameter in parameters if parameter.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        if not math.isfinite(norm.item()):
            names = not_finite_gradients(self.model.named_parameters())
            raise self._diverged(f"the gradient's norm is {norm.item()}, because of {names}")
        self.gradient = {"gradient_norm": norm}
        if gradient_clip_val and gradient_clip_algorithm == "value":
            largest = torch.nn.utils.get_total_norm(gradients, norm_type=torch.inf)
            self.gradient["clipped"] = (largest > gradient_clip_val).float()
            for gradient in gradients:
                gradient.clamp_(-gradient_clip_val, gradient_clip_val)
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
        """Return the encoder's state that training carries from batch to batch, of all processes; None if it carries
        none. Waits for all ranks."""
        return None

    def configure_optimizers(self) -> Any:
        optimizer = build_optimizer(self.model, self.config.optimizer)
        schedule = build_schedule(optimizer, self.total_steps or 1, self.config.optimizer)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint_: dict[str, Any]) -> None:
        """Add everything that the model needs to be used without any other file of the run."""
        checkpoint_ |= {
            "format": checkpoint.FORMAT,
            "task": self.config.task,
            "config": to_dict(self.config),
            **self.about_data,
            "versions": versions(),
        }


def widened(logits: Tensor) -> Tensor:
    """Return logits for a loss: at least float32, where mixed precision made them narrower."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def versions() -> dict[str, str]:
    """Return the versions of what a result depends on."""
    return {"unroll": unroll.__version__, **_installed()}


@cache  # looking them up takes longer than a small checkpoint does
def _installed() -> dict[str, str]:
    return {
        "torch": metadata.version("torch"),
        "lightning": metadata.version("lightning"),
        "python": platform.python_version(),
    }
