"""Every setting as a typed field with its range, and the rules between them. `from_dict` is the only way in."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from unroll import knobs
from unroll.errors import ConfigError
from unroll.knobs import BELOW_1, knob


@dataclass
class DocumentsConfig:
    """Which text, how it is split, cut into tokens, and batched."""

    source: str = knob("auto", choices=("auto", "local", "hub", "embedded"))  # auto: the first that can be had
    path: str | None = None  # a table of text and label, or a folder with train.* and test.*
    folder: str = "data"  # where downloads and caches land, and where data is looked for
    limit: int | None = knob(None, 2)  # a stratified sample of so many training examples
    val_fraction: float = knob(0.1, 1e-6, 0.9)  # of the training examples
    test_fraction: float = knob(0.1, 1e-6, 0.9)  # of the training examples, where the corpus has no test split
    tokenizer: str = knob("basic_english", choices=("basic_english",))
    max_tokens: int | None = knob(None, 1)  # longer documents are shortened to so many; the number is reported
    keep: str = knob("start", choices=("start", "end"))  # the part that a shortened document keeps
    min_freq: int = knob(1, 1)  # rarer words become <unk>
    max_size: int | None = knob(None, 1)  # words in the vocabulary, <pad> and <unk> not counted
    batch_size: int | None = knob(64, 1)  # documents in a batch
    token_budget: int | None = knob(None, 1)  # instead of batch_size: tokens in a batch, padding counted
    bucket_noise: float = knob(0.1, 0, 0.9)  # how far lengths are jittered before documents are sorted into batches
    workers: int = knob(0, 0, 64)  # processes that make batches besides the one that trains


@dataclass
class NovelConfig:
    """Which text, how it is split, and in how many lanes it is read."""

    source: str = knob("auto", choices=("auto", "local", "download", "embedded"))  # auto: the novel, by any way
    path: str | None = None  # any UTF-8 text
    folder: str = "data"  # where the download lands, and where 1268-0.txt is looked for
    limit: int | None = knob(None, 2)  # the first so many training characters
    val_fraction: float = knob(0.05, 1e-6, 0.45)  # of the text, before the test part
    test_fraction: float = knob(0.05, 1e-6, 0.45)  # of the text, at its end
    min_freq: int = knob(1, 1)  # rarer characters become <unk>
    batch_size: int = knob(32, 1)  # lanes: places in the text that are read at once
    random_offset: bool = False  # begin each epoch's lanes at another place; the text is read as a ring
    workers: int = knob(0, 0, 64)  # processes that make batches besides the one that trains


@dataclass
class EncoderConfig:
    """The recurrent net, see `unroll.encoders.RecurrentEncoder`."""

    cell: str = knob("lstm", choices=("rnn_tanh", "rnn_relu", "gru", "lstm"))
    hidden_size: int = knob(64, 1, 65536)  # in each direction
    num_layers: int = knob(1, 1, 64)
    bidirectional: bool = False
    dropout: float = knob(0.0, 0, BELOW_1)  # between layers
    backend: str = knob("auto", choices=("auto", "packed", "padded"))


@dataclass
class ClassifierConfig:
    """What stands around the encoder, see `unroll.models.classifier.TextClassifier`."""

    embedding_size: int = knob(64, 1, 65536)
    pooling: list[str] = knob(["max", "mean"], choices=("last", "mean", "max"))  # concatenated
    head_size: int = knob(0, 0, 65536)  # units of a hidden ReLU layer before the output; 0: none
    dropout: float = knob(0.0, 0, BELOW_1)  # on the embeddings and on the pooled vector
    word_dropout: float = knob(0.0, 0, BELOW_1)  # share of words read as <unk> in training


@dataclass
class LanguageModelConfig:
    """What stands around the encoder, see `unroll.models.language_model.LanguageModel`."""

    embedding_size: int | None = knob(128, 1, 65536)  # null: characters are read as unit vectors (one-hot)
    tie_weights: bool = False  # the embedding is the output layer's weight, too
    input_dropout: float = knob(0.0, 0, BELOW_1)  # on the embeddings, one mask a lane and window
    output_dropout: float = knob(0.0, 0, BELOW_1)  # on the encoder's outputs, likewise


@dataclass
class OptimizerConfig:
    """How the weights move."""

    name: str = knob("adamw", choices=("adamw", "adam", "sgd"))
    learning_rate: float = knob(1e-3, 1e-12, 1e3)  # the highest that the schedule reaches
    weight_decay: float = knob(0.0, 0, 1e3)  # of weight matrices only
    schedule: str = knob("one_cycle", choices=("one_cycle", "cosine", "constant"))
    warmup: float = knob(0.0, 0, 0.9)  # share of all steps in which the learning rate rises
    ema_decay: float | None = knob(None, 0, BELOW_1)  # evaluate and keep an average of the weights, if given


@dataclass
class DocumentWindowConfig:
    """Truncated backpropagation through time, within a document."""

    window: int | None = knob(None, 1)  # steps after which the gradient is cut; null: never


@dataclass
class TbpttConfig:
    """Truncated backpropagation through time, see `unroll.batching.streams.Lanes`."""

    window: int = knob(128, 1)  # characters that the gradient flows through
    stride: int | None = knob(None, 1)  # characters, the last of a window, that the loss is taken of; null: all
    random_window: bool = False  # windows of about so many characters, their lengths drawn anew each epoch


@dataclass
class EarlyStoppingConfig:
    """When to stop before the last epoch."""

    patience: int | None = knob(None, 1)  # validations without a better result; null: never stop early


@dataclass
class CheckpointConfig:
    """When to save `last.ckpt`, besides after each validation and at the end."""

    every_n_steps: int | None = knob(None, 1)  # optimiser steps
    every_n_minutes: float | None = knob(5.0, 0)


@dataclass
class DiagnosticsConfig:
    """What TensorBoard shows of the recurrence, see `unroll.training.recurrence`."""

    every_n_steps: int | None = knob(100, 1)  # optimiser steps between looks at gates, state and updates; null: none


@dataclass
class TrainerConfig:
    """Arguments of Lightning's Trainer, under Lightning's names."""

    max_epochs: int | None = knob(5, 1)
    max_steps: int = knob(-1, -1)  # -1: no limit
    max_time: str | None = None  # DD:HH:MM:SS
    min_epochs: int | None = knob(None, 1)
    min_steps: int | None = knob(None, 1)
    accelerator: str = knob("auto", choices=("auto", "cpu", "cuda", "mps"))
    precision: str = knob("auto", choices=("auto", "bf16-mixed", "32-true", "64-true"))  # auto: bf16 if native
    gradient_clip_val: float | None = knob(None, 0)
    gradient_clip_algorithm: str = knob("norm", choices=("norm", "value"))
    accumulate_grad_batches: int = knob(1, 1)
    val_check_interval: int | float = knob(1.0, 0)
    check_val_every_n_epoch: int = knob(1, 1)
    num_sanity_val_steps: int = knob(0, -1)
    log_every_n_steps: int = knob(50, 1)
    limit_train_batches: int | float = knob(1.0, 0)
    limit_val_batches: int | float = knob(1.0, 0)
    limit_test_batches: int | float = knob(1.0, 0)
    deterministic: bool = False
    detect_anomaly: bool = False
    profiler: str | None = knob(None, choices=("simple", "advanced", "pytorch"))


@dataclass
class Config:
    """The settings that every task has."""

    task: str = knob("imdb", choices=("imdb", "mysterious_island"))
    seed: int = knob(0, 0, 2**32 - 1)
    run_dir: str | None = None  # null: runs/<task>/<date>_<time>
    threads: int | None = knob(None, 1, 1024)  # that torch computes on; null: as many as there are cores to use
    resume: str | None = None  # the run_dir of a run to go on with, by its own settings
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    early_stopping: EarlyStoppingConfig = field(default_factory=EarlyStoppingConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    diagnostics: DiagnosticsConfig = field(default_factory=DiagnosticsConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)


@dataclass
class ClassificationConfig(Config):
    """All settings of task=imdb."""

    data: DocumentsConfig = field(default_factory=DocumentsConfig)
    model: ClassifierConfig = field(default_factory=ClassifierConfig)
    tbptt: DocumentWindowConfig = field(default_factory=DocumentWindowConfig)


@dataclass
class LanguageModelingConfig(Config):
    """All settings of task=mysterious_island."""

    data: NovelConfig = field(default_factory=NovelConfig)
    model: LanguageModelConfig = field(default_factory=LanguageModelConfig)
    tbptt: TbpttConfig = field(default_factory=TbpttConfig)


SCHEMAS = {"imdb": ClassificationConfig, "mysterious_island": LanguageModelingConfig}


def from_dict(values: Mapping[str, Any]) -> ClassificationConfig | LanguageModelingConfig:
    """Check plain values, as YAML or a checkpoint holds them, and return them as the config of their task.

    Raises:
        ConfigError: an unknown key, a value of the wrong type or out of its range, or two settings that do not go
            together; the message says what to write instead.
    """
    task = values.get("task", "imdb")
    if task is None:
        raise ConfigError(f"task=null: must be one of {', '.join(SCHEMAS)}")
    knobs.check_range(Config.__dataclass_fields__["task"].metadata, task, "task")
    config: ClassificationConfig | LanguageModelingConfig = knobs.build(SCHEMAS[task], values)
    rules = _shared_rules(config)
    if isinstance(config, ClassificationConfig):
        rules += _classification_rules(config)
    else:
        rules += _language_modeling_rules(config)
    for broken, message in rules:
        if broken:
            raise ConfigError(message)
    return config


def to_dict(config: Config) -> dict[str, Any]:
    """Return the settings as plain values, such that `from_dict(to_dict(config)) == config`."""
    return dataclasses.asdict(config)


def unknown_key(key: str) -> ConfigError:
    """Return the error for a dotted key that is no setting of a run's task, with what may have been meant."""
    for task, schema in SCHEMAS.items():
        if key in knobs.keys(schema):
            return ConfigError(f"'{key}' is a setting of task={task} alone; leave it out, or write task={task}")
    return knobs.unknown_key(key, [name for schema in SCHEMAS.values() for name in knobs.keys(schema)])


Rules = list[tuple[bool, str]]  # whether one is broken, and what to write instead


def _shared_rules(config: ClassificationConfig | LanguageModelingConfig) -> Rules:
    data, encoder, trainer = config.data, config.encoder, config.trainer
    return [
        (
            encoder.dropout > 0 and encoder.num_layers == 1,
            "encoder.dropout works between layers and there is one; write encoder.num_layers=2, or drop out around the "
            "encoder by model.*dropout",
        ),
        (
            data.path is not None and data.source not in ("auto", "local"),
            f"data.path goes with data.source=local, not with data.source={data.source}; drop one of them",
        ),
        (
            trainer.max_epochs is None and trainer.max_steps == -1 and trainer.max_time is None,
            "the run has no end; write trainer.max_epochs=5, trainer.max_steps=1000 or trainer.max_time=00:00:10:00",
        ),
        (
            config.optimizer.schedule != "constant" and trainer.max_epochs is None and trainer.max_steps == -1,
            f"optimizer.schedule={config.optimizer.schedule} needs to know the number of steps; give "
            "trainer.max_epochs or trainer.max_steps, or write optimizer.schedule=constant",
        ),
        (
            config.optimizer.name == "adam" and config.optimizer.weight_decay > 0,
            "optimizer.weight_decay is for optimizer.name=adamw (decoupled) or sgd; write optimizer.name=adamw",
        ),
    ]


def _classification_rules(config: ClassificationConfig) -> Rules:
    return [
        (
            config.tbptt.window is not None and config.encoder.bidirectional,
            "tbptt.window needs encoder.bidirectional=false: the backward direction starts at the end of the text, "
            "which a window has not read yet",
        ),
        (not config.model.pooling, "model.pooling=[]: write one or more of last, mean, max, as in model.pooling=[max]"),
        (
            (config.data.batch_size is None) == (config.data.token_budget is None),
            "give either data.batch_size or data.token_budget, and null for the other",
        ),
    ]


def _language_modeling_rules(config: LanguageModelingConfig) -> Rules:
    model, tbptt, hidden_size = config.model, config.tbptt, config.encoder.hidden_size
    return [
        (
            config.encoder.bidirectional,
            "a language model needs encoder.bidirectional=false: the backward direction reads the characters that it "
            "is to predict",
        ),
        (
            tbptt.stride is not None and tbptt.stride > tbptt.window,
            f"tbptt.stride={tbptt.stride} goes beyond tbptt.window={tbptt.window}; write {tbptt.window} or less",
        ),
        (
            tbptt.random_window and tbptt.stride not in (None, tbptt.window),
            "tbptt.random_window goes with windows that follow each other; write tbptt.stride=null",
        ),
        (
            model.tie_weights and model.embedding_size != hidden_size,
            f"model.tie_weights needs embeddings as wide as the hidden state; write model.embedding_size={hidden_size}",
        ),
    ]
