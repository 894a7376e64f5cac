"""The settings of a search; see `unroll.sweep`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from unroll.config.fields import setting
from unroll.errors import ConfigError


@dataclass
class SweepConfig:
    """How `unroll sweep` searches."""

    dir: str | None = None  # the sweep's folder; workers with the same folder search together
    trials: int = setting(20, 1, 1_000_000)  # of all workers, those that failed or were pruned among them
    objective: str | None = None  # the validation metric to search by, val/f1, say; null: the task's monitor
    mode: str | None = setting(None, choices=("min", "max"))  # which is better; null: known for the metrics of unroll
    sampler: str = setting("tpe", choices=("tpe", "random", "grid"))  # how the settings of the next trial are chosen
    pruner: str = setting("median", choices=("median", "hyperband", "none"))  # when to stop a trial early
    timeout: float | None = setting(None, 0)  # seconds after which a worker begins no more trials
    test: bool = False  # test the best trial's model at the end
    seed: int = setting(0, 0, 2**32 - 1)  # of the sampler; that of the runs is `seed`

    def __post_init__(self) -> None:
        if self.objective is not None and not self.objective.startswith("val/"):
            raise ConfigError(
                f"sweep.objective={self.objective[:80]}: must be a metric of the validation, such as val/accuracy; the "
                "test split is for the best trial alone, see sweep.test"
            )

    def folder(self) -> Path:
        """Return the sweep's folder. Raises ConfigError where there is none."""
        if self.dir is None:
            raise ConfigError("a sweep needs a folder; name it, as in sweep.dir=runs/sweeps/a")
        return Path(self.dir)
