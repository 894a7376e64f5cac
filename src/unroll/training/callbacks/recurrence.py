"""What is logged of the recurrence: how far its gradients reach, its gates, its state, its updates."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn

from unroll import ranks
from unroll.diagnostics.flow_picture import draw
from unroll.diagnostics.gradient_flow import gradient_flow
from unroll.diagnostics.saturation import places, saturation
from unroll.encoders import Encoder, State
from unroll.encoders.state import as_parts
from unroll.tasks.data import TaskData
from unroll.training.callbacks.texts import optional
from unroll.training.loggers import board

STEPS = 30  # of the validation rows; the gates are read at these


class Recurrence(Callback):
    """Logs scalars every `every_n_steps` optimiser steps:

    - `saturated/GATE_LAYER`: share of the gate's values below 0.05 or above 0.95, if the encoder shows its gates;
    - `state_norm/PART_LAYER`: norm of the hidden state and of the LSTM's cell, mean over rows. A language model's is
      the state that it carries to the next window, a classifier's the state after the last step that was read;
    - `update_ratio/MODULE`: norm of the optimiser's update, divided by the norm of the weights.

    After each validation it draws `recurrence/gradient_by_lag`, see `unroll.diagnostics.gradient_flow`.
    """

    def __init__(self, data: TaskData, every_n_steps: int | None) -> None:
        """Take the data, of which validation rows are read. With `every_n_steps=None` there are no scalars."""
        self.data, self.every_n_steps = data, every_n_steps
        self._rows: Tensor | None = None
        self._before: dict[str, Tensor] = {}  # the weights before the step

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
        before, self._before = self._before, {}
        state = pl_module.carried_state()
        if ranks.rank():
            return
        figures = {"update_ratio": update_ratios(before, pl_module.model)}
        if self._rows is not None:
            x, _ = pl_module.model.look_back(self._rows.to(pl_module.device))
            found = encoder.trace(x[:, :STEPS])
            if found is not None:
                figures["saturated"] = saturation(found, encoder.num_directions)
                state = found.state if state is None else state
        if state is not None:
            figures["state_norm"] = state_norms(state, encoder)
        flat = {f"{group}/{name}": value for group, values in figures.items() for name, value in values.items()}
        for logger in trainer.loggers:
            logger.log_metrics(flat, step=trainer.global_step)

    # Here and not in `on_validation_end`, so that averaged weights are still in place.
    def on_validation_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        shown, name = board(trainer), "recurrence/gradient_by_lag"
        if shown is None or self._rows is None:
            return
        with optional(name), torch.inference_mode(False), torch.enable_grad():
            x, loss = pl_module.model.look_back(self._rows.to(pl_module.device))
            flow = gradient_flow(pl_module.model.encoder, x, loss)
            shown.figure(name, draw({f"step {trainer.global_step}": flow}))


def state_norms(state: State, encoder: Encoder) -> dict[str, float]:
    """Return the norm of each part of a state, mean over rows: `hidden_l0`, `cell_l0`, …"""
    return {
        f"{name}_{place}": norm
        for name, part in zip(encoder.state_parts, as_parts(state), strict=True)
        for place, norm in zip(
            places(len(part), encoder.num_directions), part.float().norm(dim=2).mean(1).tolist(), strict=True
        )
    }


def update_ratios(before: dict[str, Tensor], model: nn.Module) -> dict[str, float]:
    """Return, by module of the model, the norm of the weights' change divided by the norm of the weights `before`."""
    squares: dict[str, list[float]] = {}
    for name, weight in model.named_parameters():
        sums = squares.setdefault(name.partition(".")[0], [0.0, 0.0])
        sums[0] += float((weight - before[name]).square().sum())
        sums[1] += float(before[name].square().sum())
    return {name: (change / size) ** 0.5 if size else 0.0 for name, (change, size) in squares.items()}
