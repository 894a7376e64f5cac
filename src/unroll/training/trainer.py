"""Lightning's Trainer, by the settings."""

from __future__ import annotations

import math
from typing import Any

import torch
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy

from unroll import ranks
from unroll.config import Config, to_dict
from unroll.errors import ConfigError
from unroll.training.callbacks.checkpointing import DurableIO


def trainer_arguments(config: Config) -> dict[str, Any]:
    """Return what Lightning's Trainer is made of, callbacks and logger left out."""
    given: dict[str, Any] = to_dict(config)["trainer"]
    plugins: list[Any] = [DurableIO()]
    if ranks.world_size() > 1:
        plugins.append(TorchElasticEnvironment())  # it reads the variables that `unroll.training.launch` has set
        # Buckets of gradients are rebuilt after the first step, in another order, and so are the sums of three ranks or
        # more: a resumed run would not be the same. They are not where unused weights are looked for.
        strategy: Any = DDPStrategy(
            timeout=ranks.LONGEST_WAIT,
            broadcast_buffers=False,
            gradient_as_bucket_view=True,
            find_unused_parameters=ranks.world_size() > 2,
        )
    else:
        given |= {"devices": 1, "num_nodes": 1}
        strategy = "auto"
    return given | {
        "precision": resolve_precision(config.trainer.precision),
        "strategy": strategy,
        "plugins": plugins,
        "use_distributed_sampler": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }


def check_trainer(config: Config) -> None:
    """Refuse what Lightning's Trainer refuses, an accelerator that is not there, say, before data is read."""
    try:
        Trainer(**trainer_arguments(config), logger=False)
    except (MisconfigurationException, ValueError, RuntimeError) as error:
        raise ConfigError(f"Lightning's Trainer refuses trainer.*: {' '.join(str(error).split())}") from error


def total_steps(config: Config, batches: int) -> int | None:
    """Return the optimiser steps of a whole run with so many batches an epoch; None where only a clock ends it."""
    trainer = config.trainer
    by_epochs = None
    if trainer.max_epochs is not None:
        by_epochs = trainer.max_epochs * math.ceil(batches / trainer.accumulate_grad_batches)
    ends = [steps for steps in (by_epochs, trainer.max_steps if trainer.max_steps != -1 else None) if steps is not None]
    return min(ends, default=None)


def resolve_precision(precision: str) -> str:
    """Return Lightning's name of the precision; `auto` is bf16 where the processor computes in it, else float32."""
    if precision != "auto":
        return precision
    if torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
    return "bf16-mixed" if torch.ops.mkldnn._is_mkldnn_bf16_supported() else "32-true"
