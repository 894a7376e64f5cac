"""An average of the weights, for evaluation and for `best.ckpt`."""

from __future__ import annotations

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EMAWeightAveraging


class WeightAverage(EMAWeightAveraging):
    """Lightning's exponential moving average, in the precision of the weights."""

    def __init__(self, decay: float) -> None:
        super().__init__(decay=decay)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        # Lightning makes the weights float64 after this, and a copy in float32 would round them at each validation.
        trainer.precision_plugin.convert_module(pl_module)
        super().setup(trainer, pl_module, stage)
