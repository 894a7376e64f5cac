"""The settings of every task. A run uses these defaults; each group checks its own rules."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from unroll.config.fields import BELOW_1, brief, setting
from unroll.errors import ConfigError
from unroll.registry import ENCODERS

AUTO = "auto"  # resume=auto starts the run of run_dir, or resumes it

LOGGERS = ("tensorboard", "csv", "wandb", "mlflow")  # see `unroll.training.loggers`

TOKENIZERS = ("basic_english", "whitespace", "characters", "bytes", "bpe")  # see `unroll.text.tokenizers`
BPE_SIZE = 4000  # tokens that bpe learns where data.max_size says nothing
BYTES = 256  # the tokens of `bytes`, with which `bpe` begins


@dataclass
class EncoderConfig:
    """The recurrent net, see `unroll.encoders`."""

    cell: str = setting("lstm", choices=ENCODERS)  # rnn_tanh, rnn_relu, gru, lstm, min_gru, or a registered name
    hidden_size: int = setting(64, 1, 65536)  # in each direction
    num_layers: int = setting(1, 1, 64)  # recurrent layers, each on the outputs of the one below
    bidirectional: bool = False  # read each document from both ends; not for a language model
    dropout: float = setting(0.0, 0, BELOW_1)  # between layers
    locked_dropout: bool = False  # between layers, drop the same features at all steps of a row
    weight_dropout: float = setting(0.0, 0, BELOW_1)  # share of recurrent weights dropped, one mask a batch or window
    backend: str = setting("auto", choices=("auto", "packed", "padded"))  # auto: packed on CUDA, else padded
    options: dict[str, Any] = field(default_factory=dict)  # further arguments of a registered encoder

    def __post_init__(self) -> None:
        if self.dropout > 0 and self.num_layers == 1:
            raise ConfigError(
                "encoder.dropout works between layers, and there is only one; write encoder.num_layers=2, or use the "
                "dropout around the encoder (model.*dropout)"
            )
        if self.locked_dropout and self.dropout == 0:
            raise ConfigError("encoder.locked_dropout=true has nothing to drop; write encoder.dropout=0.3, say")


@dataclass
class OptimizerConfig:
    """How the weights are trained."""

    name: str = setting("adamw", choices=("adamw", "adam", "sgd"))  # sgd has Nesterov momentum 0.9
    learning_rate: float = setting(3e-3, 1e-12, 1e3)  # the highest of the schedule
    weight_decay: float = setting(0.01, 0, 1e3)  # on weight matrices only
    schedule: str = setting("one_cycle", choices=("one_cycle", "cosine", "constant"))  # after the warm-up
    warmup_fraction: float = setting(0.3, 0, 0.9)  # share of the steps in which the learning rate rises
    ema_decay: float | None = setting(None, 0, BELOW_1)  # evaluate and save a moving average of the weights
    average_after: int | None = setting(None, 1)  # validations without progress, then average the weights
    embedding: str = setting("dense", choices=("dense", "rows"))  # rows: each step trains the rows that its batch has

    def __post_init__(self) -> None:
        if self.name == "adam" and self.weight_decay > 0:
            raise ConfigError(
                "optimizer.weight_decay needs optimizer.name=adamw (decoupled) or sgd; write optimizer.name=adamw, or "
                "optimizer.weight_decay=0"
            )
        if self.ema_decay is not None and self.average_after is not None:
            raise ConfigError(
                "optimizer.ema_decay and optimizer.average_after are two averages of the weights; write null for one"
            )
        if self.embedding == "rows" and self.name == "sgd":
            raise ConfigError(
                "optimizer.embedding=rows needs Adam; write optimizer.name=adamw or adam, or optimizer.embedding=dense"
            )


@dataclass
class EarlyStoppingConfig:
    """When to stop before the last epoch."""

    patience: int | None = setting(None, 1)  # validations without a better result; null: no early stopping


@dataclass
class CheckpointConfig:
    """When to save `last.ckpt`, apart from each validation and the end of the run."""

    every_n_steps: int | None = setting(None, 1)  # optimiser steps
    every_n_minutes: float | None = setting(5.0, 0)  # since the last save; null: never by the clock


@dataclass
class DiagnosticsConfig:
    """What TensorBoard shows of the recurrence, see `unroll.training.callbacks.recurrence`."""

    every_n_steps: int | None = setting(100, 1)  # optimiser steps between figures of gates, state, updates; null: none


@dataclass
class TrainerConfig:
    """Arguments of Lightning's Trainer."""

    max_epochs: int | None = setting(3, 1)
    max_steps: int = setting(-1, -1)  # -1: no limit
    max_time: str | None = None  # DD:HH:MM:SS
    min_epochs: int | None = setting(None, 1)
    min_steps: int | None = setting(None, 1)
    accelerator: str = setting("auto", choices=("auto", "cpu", "cuda", "mps"))
    devices: int = setting(1, 1, 1024)  # processes on each machine, which share every batch
    num_nodes: int = setting(1, 1, 65536)  # machines
    strategy: str = setting("auto", choices=("auto", "ddp"))  # auto: ddp for more than one process
    precision: str = setting("auto", choices=("auto", "bf16-mixed", "32-true", "64-true"))  # auto: bf16-mixed if native
    gradient_clip_val: float | None = setting(1.0, 0)
    gradient_clip_algorithm: str = setting("norm", choices=("norm", "value"))
    accumulate_grad_batches: int = setting(1, 1)
    val_check_interval: int | float = setting(1.0, 0)  # a share of the epoch, or batches
    check_val_every_n_epoch: int = setting(1, 1)
    num_sanity_val_steps: int = setting(0, -1)
    log_every_n_steps: int = setting(50, 1)
    limit_train_batches: int | float = setting(1.0, 0)  # a share of the epoch, or batches
    limit_val_batches: int | float = setting(1.0, 0)
    limit_test_batches: int | float = setting(1.0, 0)
    deterministic: bool = False
    detect_anomaly: bool = False
    profiler: str | None = setting(None, choices=("simple", "advanced", "pytorch"))

    def __post_init__(self) -> None:
        if self.max_epochs is None and self.max_steps == -1 and self.max_time is None:
            raise ConfigError(
                "the run has no end; write trainer.max_epochs=5, trainer.max_steps=1000 or trainer.max_time=00:00:10:00"
            )
        if self.max_steps == 0:
            raise ConfigError("trainer.max_steps=0 leaves nothing to train; write 1 or more, or -1 for no limit")
        if self.max_time is not None and not re.fullmatch(r"\d+:[0-2]?\d:[0-5]?\d:[0-5]?\d", self.max_time):
            raise ConfigError(
                f"trainer.max_time={self.max_time[:40]}: must be days:hours:minutes:seconds, such as 00:01:30:00"
            )
        for name in ("limit_train_batches", "limit_val_batches", "limit_test_batches", "val_check_interval"):
            value = getattr(self, name)
            if isinstance(value, float) and value > 1:
                raise ConfigError(
                    f"trainer.{name}={value}: must be a share of at most 1.0, or a whole number of batches"
                )
        for name, left in (("limit_train_batches", "train on"), ("val_check_interval", "do between validations")):
            if getattr(self, name) == 0:
                raise ConfigError(f"trainer.{name}=0 leaves nothing to {left}; write 1.0 for the whole epoch")


@dataclass
class DataConfig:
    """The data settings of every task."""

    path: str | None = None  # the data: a file or a folder
    folder: str = "data"  # for downloads and caches; data is looked for here too
    workers: int = setting(0, 0, 64)  # processes that make batches; 0: the training process makes them


@dataclass
class Config:
    """The settings of every task. `task` is the preset's name, `kind` is an entry of `unroll.tasks.spec.TASKS`."""

    kind: str = "classification"  # the kind of task; presets set it
    task: str = "classification"  # the preset, which names the run's folder
    seed: int = setting(0, 0, 2**32 - 1)  # of all random numbers; it also decides how data is split
    run_dir: str | None = None  # null: runs/<task>/<date>_<time>
    threads: int | None = setting(None, 1, 1024)  # that torch computes with; null: one per usable core
    resume: str | None = None  # the run_dir of a run to resume, with its settings; auto: run_dir's, if any
    logger: list[str] = setting(["tensorboard"], choices=LOGGERS)  # where figures go; []: nowhere
    init_from: str | None = None  # a checkpoint to take initial weights from, where names and shapes fit
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    early_stopping: EarlyStoppingConfig = field(default_factory=EarlyStoppingConfig)
    data: DataConfig = field(default_factory=DataConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    diagnostics: DiagnosticsConfig = field(default_factory=DiagnosticsConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)

    def __post_init__(self) -> None:
        if not re.fullmatch(r"\w[\w.-]{0,63}", self.task):
            raise ConfigError(f"task={ascii(self.task)[:80]}: a name is up to 64 letters, digits, '_', '.' or '-'")
        twice = next((name for name in self.logger if self.logger.count(name) > 1), None)
        if twice is not None:
            raise ConfigError(f"logger={brief(self.logger)}: {twice} is there twice; write it once")
        trainer = self.trainer
        if self.optimizer.schedule != "constant" and trainer.max_epochs is None and trainer.max_steps == -1:
            raise ConfigError(
                f"optimizer.schedule={self.optimizer.schedule} needs the number of steps; give trainer.max_epochs or "
                "trainer.max_steps, or write optimizer.schedule=constant"
            )


def check_vocabulary(tokenizer: str, max_size: int | None) -> None:
    """Refuse a `data.max_size` that the tokenizer can't have."""
    if max_size is not None and tokenizer == "bpe" and max_size <= BYTES:
        raise ConfigError(
            f"data.max_size={max_size}: data.tokenizer=bpe begins with the {BYTES} bytes and learns more tokens; write "
            f"data.max_size={BPE_SIZE}"
        )
    if max_size is not None and tokenizer == "bytes":
        raise ConfigError(
            "data.max_size: the tokens of data.tokenizer=bytes are the 256 bytes; write data.max_size=null"
        )


def check_source(path: str | None, source: str) -> None:
    """Refuse `data.path` with a source that reads no path."""
    if path is not None and source not in ("auto", "local"):
        raise ConfigError(f"data.path needs data.source=local, not data.source={source}; drop one of them")


def to_dict(config: Config) -> dict[str, Any]:
    """Return the settings as plain values; `from_dict(to_dict(config)) == config`."""
    return dataclasses.asdict(config)


def flat(values: Mapping[str, Any], place: str = "") -> dict[str, Any]:
    """Return settings by dotted key.

    >>> flat({"seed": 0, "trainer": {"max_epochs": 3}})
    {'seed': 0, 'trainer.max_epochs': 3}
    """
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= flat(value, f"{place}{key}.") if isinstance(value, dict) and value else {f"{place}{key}": value}
    return found
