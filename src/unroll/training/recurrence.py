"""What TensorBoard shows of the recurrence itself: how far its gradients reach, its gates, its state, its steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor, nn

from unroll.diagnostics.flow_picture import draw
from unroll.diagnostics.gradient_flow import gradient_flow
from unroll.diagnostics.probe import STRETCHES, Probe, probe, stretches
from unroll.diagnostics.saturation import places, saturation
from unroll.encoders import RecurrentEncoder, State
from unroll.encoders.reference import trace
from unroll.tasks.data import ClassificationData
from unroll.tasks.language_modeling import LanguageModeling
from unroll.tasks.novel_data import NovelData

LAGS = 100  # steps of validation text that gradients are followed back over
STEPS = 30  # of them, those over which gates are looked at


class Recurrence(Callback):
    """Every `every_n_steps` optimiser steps, as scalars:

    - `saturated/GATE_LAYER`: share of an LSTM's or a GRU's gates below 0.05 or above 0.95;
    - `state_norm/PART_LAYER`: norm of the hidden state and of the LSTM's cell, a mean over rows: of a language model
      the state that it carries to the next window, of a classifier that after the last step read;
    - `update_ratio/MODULE`: norm of the optimiser's step, in norms of the weights that it changes.

    After each validation, as a picture, `recurrence/gradient_by_lag`: see `unroll.diagnostics.gradient_flow`.
    """

    def __init__(self, data: ClassificationData | NovelData, every_n_steps: int | None) -> None:
        """Take the data whose validation part is read; None for no scalars."""
        self.ids, self.every_n_steps = _rows(data), every_n_steps
        self._before: dict[str, Tensor] = {}  # the weights, before a step whose size is measured

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: Any, optimizer: Any) -> None:
        if self.every_n_steps and (trainer.global_step + 1) % self.every_n_steps == 0:
            self._before = {name: weight.detach().clone() for name, weight in pl_module.model.named_parameters()}

    @torch.no_grad()
    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if not self._before:
            return
        encoder: RecurrentEncoder = pl_module.model.encoder
        found = trace(encoder.cell, dict(encoder.named_parameters()), self._probe(pl_module).x[:, :STEPS])
        carried = pl_module.states["train"] if isinstance(pl_module, LanguageModeling) else None
        figures = {
            "saturated": saturation(found, encoder.num_directions),
            "state_norm": state_norms(found.state if carried is None else carried, encoder.num_directions),
            "update_ratio": update_ratios(self._before, pl_module.model),
        }
        self._before = {}
        flat = {f"{group}/{name}": value for group, values in figures.items() for name, value in values.items()}
        for logger in trainer.loggers:
            logger.log_metrics(flat, step=trainer.global_step)

    # Here and not in `on_validation_end`, so that averaged weights are still in place.
    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking or trainer.state.fn != "fit" or not isinstance(trainer.logger, TensorBoardLogger):
            return
        with torch.inference_mode(False), torch.enable_grad():
            seen = self._probe(pl_module)
            flow = gradient_flow(seen.encoder.cell, dict(seen.encoder.named_parameters()), seen.x, seen.loss)
        figure = draw({f"step {trainer.global_step}": flow})
        trainer.logger.experiment.add_figure("recurrence/gradient_by_lag", figure, trainer.global_step)

    def _probe(self, pl_module: Any) -> Probe:
        return probe(pl_module.model, self.ids.to(pl_module.device))


def _rows(data: ClassificationData | NovelData) -> Tensor:
    """Return rows of ids from the validation part, of `LAGS` steps or as many as there are."""
    if isinstance(data, NovelData):
        return stretches(data.val, min(LAGS + 1, len(data.val)))
    lags = min(LAGS, int(data.val.lengths.max()))
    return data.val[np.flatnonzero(data.val.lengths >= lags)[:STRETCHES].tolist()].ids[:, :lags]


def state_norms(state: State, directions: int) -> dict[str, float]:
    """Return the norm of each part of a state, a mean over rows: `hidden_l0`, `cell_l0`, …"""
    parts = dict(zip(("hidden", "cell"), state if isinstance(state, tuple) else (state,), strict=False))
    norms = {name: part.float().norm(dim=2).mean(1).tolist() for name, part in parts.items()}
    return {
        f"{name}_{place}": norm
        for name, values in norms.items()
        for place, norm in zip(places(len(values), directions), values, strict=True)
    }


def update_ratios(before: dict[str, Tensor], model: nn.Module) -> dict[str, float]:
    """Return for each module of a model the norm of its weights' change, over that of the weights `before`."""
    squares: dict[str, list[float]] = {}
    for name, weight in model.named_parameters():
        sums = squares.setdefault(name.partition(".")[0], [0.0, 0.0])
        sums[0] += float((weight - before[name]).square().sum())
        sums[1] += float(before[name].square().sum())
    return {name: (change / size) ** 0.5 if size else 0.0 for name, (change, size) in squares.items()}
