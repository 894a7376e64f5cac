"""Every setting as a typed field with its range, and the rules between them. `from_dict` is the only way in."""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from unroll.errors import ConfigError


def _knob(default: Any, low: float | None = None, high: float | None = None, choices: tuple[str, ...] = ()) -> Any:
    """A field with a range, ends included, or a list of choices. The range of a list holds for its entries."""
    metadata = {"low": low, "high": high, "choices": choices}
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=metadata)
    return field(default=default, metadata=metadata)


_ALMOST_1 = 1 - 1e-6


@dataclass
class DataConfig:
    """Which text, how it is split, cut into tokens, and batched."""

    source: str = _knob("auto", choices=("auto", "local", "hub", "embedded"))  # auto: the first that can be had
    path: str | None = None  # a table of text and label, or a folder with train.* and test.*
    folder: str = "data"  # where downloads and caches land, and where data is looked for
    limit: int | None = _knob(None, 2)  # a stratified sample of so many training examples
    val_fraction: float = _knob(0.1, 1e-6, 0.9)  # of the training examples
    test_fraction: float = _knob(0.1, 1e-6, 0.9)  # of the training examples, where the corpus has no test split
    tokenizer: str = _knob("basic_english", choices=("basic_english",))
    max_tokens: int | None = _knob(None, 1)  # longer documents are shortened to so many; the number is reported
    keep: str = _knob("start", choices=("start", "end"))  # the part that a shortened document keeps
    min_freq: int = _knob(1, 1)  # rarer words become <unk>
    max_size: int | None = _knob(None, 1)  # words in the vocabulary, <pad> and <unk> not counted
    batch_size: int | None = _knob(64, 1)  # documents in a batch
    token_budget: int | None = _knob(None, 1)  # instead of batch_size: tokens in a batch, padding counted
    bucket_noise: float = _knob(0.1, 0, 0.9)  # how far lengths are jittered before documents are sorted into batches


@dataclass
class EncoderConfig:
    """The recurrent net, see `unroll.encoders.RecurrentEncoder`."""

    cell: str = _knob("lstm", choices=("rnn_tanh", "rnn_relu", "gru", "lstm"))
    hidden_size: int = _knob(64, 1, 65536)  # in each direction
    num_layers: int = _knob(1, 1, 64)
    bidirectional: bool = False
    dropout: float = _knob(0.0, 0, _ALMOST_1)  # between layers
    backend: str = _knob("auto", choices=("auto", "packed", "padded"))


@dataclass
class ModelConfig:
    """What stands around the encoder, see `unroll.models.classifier.TextClassifier`."""

    embedding_size: int = _knob(64, 1, 65536)
    pooling: list[str] = _knob(["max", "mean"], choices=("last", "mean", "max"))  # concatenated
    head_size: int = _knob(0, 0, 65536)  # units of a hidden ReLU layer before the output; 0: none
    dropout: float = _knob(0.0, 0, _ALMOST_1)  # on the embeddings and on the pooled vector
    word_dropout: float = _knob(0.0, 0, _ALMOST_1)  # share of words read as <unk> in training


@dataclass
class OptimizerConfig:
    """How the weights move."""

    name: str = _knob("adamw", choices=("adamw", "adam", "sgd"))
    learning_rate: float = _knob(1e-3, 1e-12, 1e3)  # the highest that the schedule reaches
    weight_decay: float = _knob(0.0, 0, 1e3)  # of weight matrices only
    schedule: str = _knob("one_cycle", choices=("one_cycle", "cosine", "constant"))
    warmup: float = _knob(0.0, 0, 0.9)  # share of all steps in which the learning rate rises
    ema_decay: float | None = _knob(None, 0, _ALMOST_1)  # evaluate and keep an average of the weights, if given


@dataclass
class TbpttConfig:
    """Truncated backpropagation through time."""

    window: int | None = _knob(None, 1)  # steps after which the gradient is cut; null: never


@dataclass
class EarlyStoppingConfig:
    """When to stop before the last epoch."""

    patience: int | None = _knob(None, 1)  # validations without a better val/loss; null: never stop early


@dataclass
class CheckpointConfig:
    """When to save `last.ckpt`, besides the end of each validation."""

    every_n_steps: int | None = _knob(None, 1)


@dataclass
class TrainerConfig:
    """Arguments of Lightning's Trainer, under Lightning's names."""

    max_epochs: int | None = _knob(5, 1)
    max_steps: int = _knob(-1, -1)  # -1: no limit
    max_time: str | None = None  # DD:HH:MM:SS
    min_epochs: int | None = _knob(None, 1)
    min_steps: int | None = _knob(None, 1)
    accelerator: str = _knob("auto", choices=("auto", "cpu", "cuda", "mps"))
    precision: str = _knob("auto", choices=("auto", "bf16-mixed", "32-true", "64-true"))  # auto: bf16 if native
    gradient_clip_val: float | None = _knob(None, 0)
    gradient_clip_algorithm: str = _knob("norm", choices=("norm", "value"))
    accumulate_grad_batches: int = _knob(1, 1)
    val_check_interval: int | float = _knob(1.0, 0)
    check_val_every_n_epoch: int = _knob(1, 1)
    num_sanity_val_steps: int = _knob(0, -1)
    log_every_n_steps: int = _knob(50, 1)
    limit_train_batches: int | float = _knob(1.0, 0)
    limit_val_batches: int | float = _knob(1.0, 0)
    limit_test_batches: int | float = _knob(1.0, 0)
    deterministic: bool = False
    detect_anomaly: bool = False
    profiler: str | None = _knob(None, choices=("simple", "advanced", "pytorch"))


@dataclass
class Config:
    """All settings of a run."""

    task: str = _knob("imdb", choices=("imdb",))
    seed: int = _knob(0, 0, 2**32 - 1)
    run_dir: str | None = None  # null: runs/<task>/<date>_<time>
    data: DataConfig = field(default_factory=DataConfig)
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    tbptt: TbpttConfig = field(default_factory=TbpttConfig)
    early_stopping: EarlyStoppingConfig = field(default_factory=EarlyStoppingConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)


def from_dict(values: Mapping[str, Any]) -> Config:
    """Check plain values, as YAML or a checkpoint holds them, and return them as a `Config`.

    Raises:
        ConfigError: an unknown key, a value of the wrong type or out of its range, or two settings that do not go
            together; the message says what to write instead.
    """
    config: Config = _build(Config, values, "")
    _check_rules(config)
    return config


def to_dict(config: Config) -> dict[str, Any]:
    """Return the settings as plain values, such that `from_dict(to_dict(config)) == config`."""
    return dataclasses.asdict(config)


def unknown_key(key: str) -> ConfigError:
    """Return the error for a dotted key that is no setting, with the nearest one that is."""
    near = difflib.get_close_matches(key, list(_keys(Config, "")), n=1, cutoff=0.6)
    hint = f"did you mean '{near[0]}'?" if near else "`python scripts/train.py --cfg job` lists them all"
    return ConfigError(f"there is no setting '{key}'; {hint}")


def _keys(cls: type, prefix: str) -> Iterator[str]:
    for name, hint in typing.get_type_hints(cls).items():
        yield prefix + name
        if dataclasses.is_dataclass(hint):
            yield from _keys(typing.cast(type, hint), f"{prefix}{name}.")


def _build(cls: Any, values: Any, prefix: str) -> Any:
    if not isinstance(values, Mapping):
        raise ConfigError(f"{prefix.rstrip('.') or 'the config'} must be a group of settings, not {values!r}")
    hints = typing.get_type_hints(cls)
    for key in values:
        if key not in hints:
            raise unknown_key(f"{prefix}{key}")
    arguments = {}
    for knob in dataclasses.fields(cls):
        if knob.name not in values:
            continue
        place, value, hint = prefix + knob.name, values[knob.name], hints[knob.name]
        if dataclasses.is_dataclass(hint):
            arguments[knob.name] = _build(hint, value, f"{place}.")
        else:
            value = arguments[knob.name] = _convert(hint, value, place)
            for entry in value if isinstance(value, list) else [value]:
                _check_range(knob.metadata, entry, place)
    return cls(**arguments)


def _convert(hint: Any, value: Any, place: str) -> Any:
    """Return `value` as the type `hint`: a scalar type, a union of such, or a list of strings."""
    allowed = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if list[str] in allowed and isinstance(value, list | tuple) and all(isinstance(entry, str) for entry in value):
        return list(value)
    if value == "":
        raise ConfigError(f"{place} is empty; give it a value{', or null' if types.NoneType in allowed else ''}")
    scalars = [kind for kind in allowed if kind != list[str]]
    if type(value) in scalars:  # not isinstance: True is no integer here
        return value
    if float in scalars and type(value) is int:
        return float(value)
    if str in scalars and type(value) is int:  # trainer.devices=1, trainer.precision=32
        return str(value)
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "text", types.NoneType: "null"}
    wanted = " or ".join(names.get(kind, "a list of names") for kind in allowed)
    raise ConfigError(f"{place}={_shown(value)}: must be {wanted}")


def _check_range(metadata: Mapping[str, Any], value: Any, place: str) -> None:
    low, high, choices = metadata.get("low"), metadata.get("high"), metadata.get("choices")
    if value is None:
        return
    if choices and value not in choices:
        near = difflib.get_close_matches(str(value), choices, n=1)
        hint = f"; did you mean {place}={near[0]}?" if near else ""
        raise ConfigError(f"{place}={_shown(value)}: must be one of {', '.join(choices)}{hint}")
    # Written so that NaN fails as well.
    if low is not None and not value >= low:
        raise ConfigError(f"{place}={_shown(value)}: must be at least {low:g}")
    if high is not None and not value <= high:
        raise ConfigError(f"{place}={_shown(value)}: must be {'below 1' if high == _ALMOST_1 else f'at most {high:g}'}")


def _shown(value: Any) -> str:
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return " ".join(text.split())[:80]


def _check_rules(config: Config) -> None:
    """Refuse settings that are each in range and together make no sense."""
    data, encoder, trainer = config.data, config.encoder, config.trainer
    rules = [
        (
            encoder.dropout > 0 and encoder.num_layers == 1,
            "encoder.dropout works between layers and there is one; write encoder.num_layers=2, or model.dropout="
            f"{encoder.dropout:g} for drop-out around the encoder",
        ),
        (
            config.tbptt.window is not None and encoder.bidirectional,
            "tbptt.window needs encoder.bidirectional=false: the backward direction starts at the end of the text, "
            "which a window has not read yet",
        ),
        (not config.model.pooling, "model.pooling=[]: write one or more of last, mean, max, as in model.pooling=[max]"),
        (
            (data.batch_size is None) == (data.token_budget is None),
            "give either data.batch_size or data.token_budget, and null for the other",
        ),
        (
            data.path is not None and data.source in ("hub", "embedded"),
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
    for broken, message in rules:
        if broken:
            raise ConfigError(message)
