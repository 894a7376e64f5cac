"""The LightningModule of language modelling, with truncated backpropagation through time."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from unroll import ranks
from unroll.batching.part import share_of
from unroll.batching.streams import Window, own_lanes
from unroll.config import LanguageModelingConfig
from unroll.encoders import State
from unroll.encoders.regularizers import activation_penalty
from unroll.encoders.state import as_parts, as_state, detach
from unroll.models.language_model import build_language_model
from unroll.tasks.language_modeling_data import LanguageModelingData
from unroll.tasks.metrics import StreamMetrics
from unroll.tasks.module import TaskModule, widened


class LanguageModeling(TaskModule):
    """Cross entropy of the next token, in a text that is read window by window.

    The state is carried from each window to the next and detached, so the gradient ends where the window begins.
    Training, validation and test each have their own state.
    """

    monitor, monitor_mode = "val/bpc", "min"
    shown = ("bpc", "accuracy")
    config: LanguageModelingConfig

    def __init__(self, config: LanguageModelingConfig, data: LanguageModelingData, total_steps: int | None) -> None:
        """Build an untrained model for `data`; see `TaskModule`."""
        model = build_language_model(config, len(data.vocabulary))
        super().__init__(config, model, data, total_steps)
        self.token_size = data.train.size
        for split, part in (("val", data.val), ("test", data.test)):
            self.metrics[split].append(StreamMetrics(part.size))
        self.states: dict[str, State | None] = {"train": None, "val": None, "test": None}
        self._strides: list[int] = []  # of the windows since the last optimiser step
        self._penalty: Tensor | None = None  # of the window that is being trained on
        if config.model.activation_penalty or config.model.temporal_penalty:
            model.output_dropout.register_forward_hook(self._penalise)

    def forward(self, batch: Window, split: str, targets: Tensor | None = None) -> Tensor:
        """Return the logits (lanes, stride, vocabulary) of a window, or the losses of targets (lanes, stride), and keep
        the state of `split` for the next."""
        state = self.states[split]
        if state is not None:
            ended = batch.starts
            if split == "train" and (p := self.config.tbptt.state_dropout):
                ended = ended | (torch.rand(ended.shape, device=ended.device) < p)
            state = detach(state, ended)
        found: Tensor
        last = batch.targets.size(1)
        found, self.states[split] = self.model(batch.ids, state, carry=batch.carry, last=last, targets=targets)
        return found

    def training_step(self, batch: Window, batch_idx: int) -> dict[str, Tensor]:
        loss, accuracy = self._loss(batch)
        self._strides.append(batch.targets.size(1))
        bpc = self.token_size.bits(loss.detach()) / self.token_size.characters
        figures = {"loss": loss, "bpc": bpc} | accuracy
        if self._penalty is not None:
            penalty, self._penalty = self._penalty, None
            # Its gradient and not its value: the figure stays the cross entropy.
            figures |= {"loss": loss + (penalty - penalty.detach()), "penalty": penalty.detach()}
        share = share_of(batch.part)
        return {name: value * share for name, value in figures.items()}

    def _loss(self, batch: Window) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the mean cross entropy of a window, and the accuracy. With cutoffs there is none: it would take the
        logits of all clusters."""
        if self.config.model.cutoffs:
            return self(batch, "train", batch.targets).mean(), {}
        logits = widened(self(batch, "train")).flatten(0, 1)
        targets = batch.targets.flatten()
        correct = (logits.detach().argmax(-1) == targets).float().mean()
        return F.cross_entropy(logits, targets), {"accuracy": correct}

    def _penalise(self, dropout: nn.Module, inputs: tuple[Tensor], dropped: Tensor) -> None:
        if self.training:
            model = self.config.model
            self._penalty = activation_penalty(inputs[0], dropped, model.activation_penalty, model.temporal_penalty)

    def carried_state(self) -> State | None:
        state = self.states["train"]
        if state is None or ranks.world_size() == 1:
            return state
        lanes = ranks.gathered([part.detach().cpu() for part in as_parts(state)])
        return as_state([torch.cat(parts, 1).to(self.device) for parts in zip(*lanes, strict=True)])

    def on_save_checkpoint(self, checkpoint_: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint_)
        carried = self.carried_state()
        checkpoint_["carried"] = [] if carried is None else [part.detach() for part in as_parts(carried)]

    def on_load_checkpoint(self, checkpoint_: dict[str, Any]) -> None:
        parts = checkpoint_["carried"]
        if parts:
            own = own_lanes(parts[0].size(1), ranks.rank(), ranks.world_size())
            self.states["train"] = as_state([part[:, own] for part in parts])

    def on_train_start(self) -> None:
        state = self.states["train"]
        if state is not None:  # from a checkpoint
            self.states["train"] = as_state([part.to(self.device) for part in as_parts(state)])

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Scale the learning rate by the window's length: each token then weighs the same (Merity et al. 2017).

        After the step, the schedule sets the rate again.
        """
        full = self.config.tbptt.stride or self.config.tbptt.window
        share = sum(self._strides) / (full * len(self._strides))
        self._strides.clear()
        for group in optimizer.param_groups:
            group["lr"] *= share

    def evaluate(self, batch: Window, split: str) -> None:
        logits = self(batch, split)
        for metric in self.metrics[split]:
            metric.update(logits, batch.targets)
