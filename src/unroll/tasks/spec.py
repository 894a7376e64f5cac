"""The table of tasks: for each kind, which settings, data, module, model in use and words belong together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from unroll.config import ClassificationConfig, Config, LanguageModelingConfig, fields, legacy
from unroll.errors import ConfigError
from unroll.registry import Registry, resolve


@dataclass(frozen=True)
class TaskSpec:
    """What belongs to one kind of task. Classes and functions may be given as "module:name", and are then imported when
    they are first needed: settings are checked before torch is loaded.

    >>> TASKS["classification"].load("module").__name__
    'Classification'
    """

    settings: type[Config]
    data: Any
    """`TaskData`, made of (config); see `unroll.tasks.data`."""
    module: Any
    """`TaskModule`, made of (config, data, total_steps); see `unroll.tasks.module`."""
    model: Any
    """The model in use, made by its `from_checkpoint(config, content)`; see `unroll.inference.load`."""
    callbacks: tuple[Any, ...] = ()
    """Lightning callbacks, each made of (data), that show in TensorBoard what a validation was like."""
    explain: Any = None
    """(model in use, text) -> explanation, see `unroll.diagnostics.explain`; None: there is none."""
    examples: str = "examples"
    """What the sizes of the splits count."""
    unit: str = "tokens"
    """What a batch's `num_tokens` counts."""
    command: str = "evaluate"
    """The command that puts a trained model to use: `predict`, `generate` or `evaluate`."""
    arguments: str = ""
    """Arguments of that command for a first try, printed after training."""
    full_windows: bool = False
    """Whether batches are full windows: a kernel's threads then do better to spin; see `unroll.runtime`."""

    def load(self, part: str) -> Any:
        """Return the class or function named `part`."""
        return resolve(getattr(self, part))


TASKS: Registry[TaskSpec] = Registry(
    "kind",
    "unroll.tasks",
    {
        "classification": TaskSpec(
            settings=ClassificationConfig,
            data="unroll.tasks.classification_data:ClassificationData",
            module="unroll.tasks.classification:Classification",
            model="unroll.inference.classify:LoadedClassifier",
            callbacks=("unroll.training.callbacks.pictures:ClassificationPictures",),
            explain="unroll.diagnostics.explain:judge_text",
            command="predict",
            arguments='"I loved every minute."',
        ),
        "language_modeling": TaskSpec(
            settings=LanguageModelingConfig,
            data="unroll.tasks.language_modeling_data:LanguageModelingData",
            module="unroll.tasks.language_modeling:LanguageModeling",
            model="unroll.inference.generate:LoadedLanguageModel",
            callbacks=("unroll.training.callbacks.samples:Samples",),
            explain="unroll.diagnostics.explain:surprise",
            examples="characters",
            unit="characters",
            command="generate",
            arguments='--prompt "The "',
            full_windows=True,
        ),
    },
)


def register_task(kind: str, spec: TaskSpec) -> None:
    """Add a kind of task, to be chosen by a preset in `conf/task/` that says `kind: NAME`.

    Raises:
        ValueError: the package has such a kind, or the name is no identifier.
    """
    TASKS.register(kind, spec)


def from_dict(values: Mapping[str, Any]) -> Any:
    """Check plain values, as YAML or a checkpoint holds them, and return them as the settings of their kind of task.

    Raises:
        ConfigError: an unknown key, a value of the wrong type or out of its range, or two settings that do not go
            together; the message says what to write instead.
    """
    kind = values.get("kind", "classification")
    if not isinstance(kind, str):
        raise ConfigError(f"kind={kind!s:.40}: must be one of {', '.join(TASKS)}")
    return fields.build(TASKS[kind].settings(), values)


def load_data(config: Config) -> Any:
    """Return the `TaskData` of the settings, ready for use.

    Raises:
        DataError: the data can't be had, or not be used as the settings say.
    """
    data = TASKS[config.kind].load("data")(config)
    data.prepare_data()
    data.setup()
    return data


def settings_of(content: Mapping[str, Any]) -> Any:
    """Return the settings that a checkpoint holds, those of an earlier format under today's names; see `from_dict`."""
    values = content["config"]
    return from_dict(legacy.translate(values) if content["format"] == 2 else values)


def unknown_key(key: str) -> ConfigError:
    """Return the error for a dotted key that is no setting of a run's task, with what may have been meant."""
    known = {kind: list(fields.keys(TASKS[kind].settings)) for kind in TASKS}
    for kind, names in known.items():
        if key in names:
            return ConfigError(f"'{key}' is a setting of {kind} alone; leave it out, or choose such a task")
    return fields.unknown_key(key, [name for names in known.values() for name in names])
