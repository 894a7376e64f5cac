"""What TensorBoard shows of the recurrence itself: how far its gradients reach, its gates, its state, its steps."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor, nn

from unroll.diagnostics.flow_picture import draw
from unroll.diagnostics.gradient_flow import gradient_flow
from unroll.diagnostics.saturation import places, saturation
from unroll.encoders import Encoder, State
from unroll.encoders.state import as_parts
from unroll.tasks.data import TaskData

STEPS = 30  # of the rows that are probed, those over which gates are looked at


class Recurrence(Callback):
    """Every `every_n_steps` optimiser steps, as scalars:

    - `saturated/GATE_LAYER`: share of the gates, of an encoder that shows them, below 0.05 or above 0.95;
    - `state_norm/PART_LAYER`: norm of the hidden state and of the LSTM's cell, a mean over rows: of a language model
      the state that it carries to the next window, else that after the last step read;
    - `update_ratio/MODULE`: norm of the optimiser's step, in norms of the weights that it changes.

    After each validation, as a picture, `recurrence/gradient_by_lag`: see `unroll.diagnostics.gradient_flow`.
    """

    def __init__(self, data: TaskData, every_n_steps: int | None) -> None:
        """Take the data whose validation part is read; None for no scalars."""
        self.data, self.every_n_steps = data, every_n_steps
        self._rows: Tensor | None = None
        self._before: dict[str, Tensor] = {}  # the weights, before a step whose size is measured

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._rows = self.data.probe_rows()

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: Any, optimizer: Any) -> None:
        if self.every_n_steps and (trainer.global_step + 1) % self.every_n_steps == 0:
            self._before = {name: weight.detach().clone() for name, weight in pl_module.model.named_parameters()}

    @torch.no_grad()
    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if not self._before:
            return
        encoder: Encoder = pl_module.model.encoder
        figures = {"update_ratio": update_ratios(self._before, pl_module.model)}
        state = pl_module.carried_state()
        if self._rows is not None:
            x, _ = pl_module.model.look_back(self._rows.to(pl_module.device))
            found = encoder.trace(x[:, :STEPS])
            if found is not None:
                figures["saturated"] = saturation(found, encoder.num_directions)
                state = found.state if state is None else state
        if state is not None:
            figures["state_norm"] = state_norms(state, encoder)
        self._before = {}
        flat = {f"{group}/{name}": value for group, values in figures.items() for name, value in values.items()}
        for logger in trainer.loggers:
            logger.log_metrics(flat, step=trainer.global_step)

    # Here and not in `on_validation_end`, so that averaged weights are still in place.
    def on_validation_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        if trainer.sanity_checking or trainer.state.fn != "fit" or not isinstance(trainer.logger, TensorBoardLogger):
            return
        if self._rows is None:
            return
        with torch.inference_mode(False), torch.enable_grad():
            x, loss = pl_module.model.look_back(self._rows.to(pl_module.device))
            flow = gradient_flow(pl_module.model.encoder, x, loss)
        figure = draw({f"step {trainer.global_step}": flow})
        trainer.logger.experiment.add_figure("recurrence/gradient_by_lag", figure, trainer.global_step)


def state_norms(state: State, encoder: Encoder) -> dict[str, float]:
    """Return the norm of each part of a state, a mean over rows: `hidden_l0`, `cell_l0`, …"""
    return {
        f"{name}_{place}": norm
        for name, part in zip(encoder.state_parts, as_parts(state), strict=True)
        for place, norm in zip(
            places(len(part), encoder.num_directions), part.float().norm(dim=2).mean(1).tolist(), strict=True
        )
    }


def update_ratios(before: dict[str, Tensor], model: nn.Module) -> dict[str, float]:
    """Return for each module of a model the norm of its weights' change, over that of the weights `before`."""
    squares: dict[str, list[float]] = {}
    for name, weight in model.named_parameters():
        sums = squares.setdefault(name.partition(".")[0], [0.0, 0.0])
        sums[0] += float((weight - before[name]).square().sum())
        sums[1] += float(before[name].square().sum())
    return {name: (change / size) ** 0.5 if size else 0.0 for name, (change, size) in squares.items()}
