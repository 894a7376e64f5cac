"""A task of its own kind: next-value regression on a numeric sequence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from unroll.inference.weights import with_weights
from unroll.tasks.module import TaskModule
from unroll.tasks.spec import TaskSpec

from .data import Batch, NextValueConfig, Series, Windows
from .model import NextValueModel


class NextValue(TaskModule):
    """Mean squared error."""

    monitor, monitor_mode, shown = "val/loss", "min", ("loss",)

    def __init__(self, config: NextValueConfig, data: Series, total_steps: int | None) -> None:
        super().__init__(config, NextValueModel(config), data, total_steps)

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        return {"loss": F.mse_loss(self.model(batch.x).float(), batch.y)}

    def evaluate(self, batch: Batch, split: str) -> None:
        self.log(f"{split}/loss", F.mse_loss(self.model(batch.x).float(), batch.y), batch_size=len(batch.y))


class LoadedNextValue:
    """The model in use."""

    def __init__(self, model: NextValueModel, config: NextValueConfig, data: dict[str, Any]) -> None:
        self.model, self.config, self.data = model, config, data

    @classmethod
    def from_checkpoint(cls, config: NextValueConfig, content: dict[str, Any]) -> LoadedNextValue:
        return cls(with_weights(lambda: NextValueModel(config), content["state_dict"]), config, content["data"])

    def read(self, path: Path, split: str) -> Windows:
        return Windows(torch.tensor([float(line) for line in path.read_text().split()]), self.config.data.window)

    @torch.inference_mode()
    def score(self, windows: Windows) -> dict[str, float]:
        batch = windows[list(range(len(windows)))]
        return {"loss": float(F.mse_loss(self.model(batch.x), batch.y)), "examples": len(windows)}


SPEC = TaskSpec(
    settings=NextValueConfig, data=Series, module=NextValue, model=LoadedNextValue, examples="windows", unit="values"
)
