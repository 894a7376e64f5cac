"""How fast a run trains, and the means of what its steps return."""

from __future__ import annotations

import sys
import time
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from unroll import ranks

MEBIBYTE = 2**20


class Throughput(Callback):
    """Counts tokens and the seconds of training, and logs scalars every `every_n_steps` batches:

    - `train/loss`, …: what the task's training step returns, means over the examples since the last log;
    - `train/learning_rate`;
    - `train/gradient_norm`: mean, before clipping;
    - `train/clipped`: share of the steps whose gradient was clipped;
    - `train/tokens_per_second`: without padding, and without the time of validations.

    Tokens are those of all ranks, and seconds those of this one.
    """

    def __init__(self, every_n_steps: int) -> None:
        self.every_n_steps = every_n_steps
        self.tokens = 0
        self.seconds = 0.0
        self.memory = 0  # bytes at most, of all ranks
        self.latest: dict[str, float] = {}  # what was logged last
        self._started: float | None = None
        self._forget()

    def _forget(self) -> None:
        self._batches = self._stretch_tokens = 0
        self._stretch_began = self.seconds
        self._means: dict[str, list[tuple[Tensor, int]]] = {}  # of each batch, and its weight

    def _start(self) -> None:
        self._started = time.perf_counter()

    def _stop(self) -> None:
        if self._started is not None:
            self.seconds += time.perf_counter() - self._started
            self._started = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._start()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._stop()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._stop()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._start()

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        tokens, examples = batch.num_tokens, batch.num_examples
        self.tokens += tokens
        self._batches += 1
        self._stretch_tokens += tokens
        for values, weight in ((outputs, examples), (pl_module.gradient, 1)):
            for name, value in values.items():
                self._means.setdefault(name, []).append((value.detach(), weight))
        pl_module.gradient = {}  # of a step, which several batches may make together
        if self._batches == self.every_n_steps or trainer.is_last_batch:
            self._log(trainer)

    def now(self) -> float:
        """Return the seconds of training up to now."""
        return self.seconds + (0.0 if self._started is None else time.perf_counter() - self._started)

    def _log(self, trainer: Trainer) -> None:
        self._stop()
        self._start()
        figures = {f"train/{name}": _weighted(mean) for name, mean in self._stretch().items()}
        figures["train/learning_rate"] = trainer.optimizers[0].param_groups[0]["lr"]
        figures["train/tokens_per_second"] = self._stretch_tokens / (self.seconds - self._stretch_began)
        self.latest = figures
        for logger in trainer.loggers:
            logger.log_metrics(figures, step=trainer.global_step)
        self._forget()

    def _stretch(self) -> dict[str, dict[str, Any]]:
        """Return, by name, the values of each batch since the last log, means over all ranks, and their weights. Waits
        for all ranks."""
        return {
            name: {
                "values": ranks.mean(torch.stack([value for value, _ in means])),
                "weights": [weight for _, weight in means],
            }
            for name, means in self._means.items()
        }

    def state_dict(self) -> dict[str, Any]:
        if self._started is not None:
            self._stop()
            self._start()
        counts = {"batches": self._batches, "tokens": self._stretch_tokens, "began": self._stretch_began}
        return {"tokens": self.tokens, "seconds": self.seconds, "stretch": counts | {"means": self._stretch()}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.tokens, self.seconds, stretch = state_dict["tokens"], state_dict["seconds"], state_dict["stretch"]
        self._batches, self._stretch_tokens = stretch["batches"], stretch["tokens"]
        self._stretch_began = stretch["began"]
        self._means = {
            name: list(zip(means["values"].unbind(), means["weights"], strict=True))
            for name, means in stretch["means"].items()
        }

    def describe(self, trainer: Trainer) -> dict[str, Any]:
        """Return what `summary.json` holds under `train`."""
        return {
            "steps": trainer.global_step,
            "epochs": trainer.current_epoch,
            "tokens": self.tokens,
            "seconds": round(self.seconds, 3),
            "tokens_per_second": round(self.tokens / self.seconds, 1) if self.seconds else 0.0,
            "peak_memory_mib": round(max(self.memory, peak_memory()) / MEBIBYTE, 1),
        }


def _weighted(mean: dict[str, Any]) -> float:
    values, weights = mean["values"].tolist(), mean["weights"]
    return float(sum(value * weight for value, weight in zip(values, weights, strict=True)) / sum(weights))


def peak_memory() -> int:
    """Return the largest memory of this process so far, in bytes; 0 where the system does not tell."""
    if sys.platform == "win32":
        return 0
    import resource  # which only Unix has

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
