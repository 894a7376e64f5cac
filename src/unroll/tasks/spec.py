"""The table of tasks: the settings, data, module, model in use and words that belong to each kind of task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from unroll.config import ClassificationConfig, Config, LanguageModelingConfig, PretrainingConfig, fields, legacy
from unroll.errors import ConfigError
from unroll.registry import Registry, resolve


@dataclass(frozen=True)
class TaskSpec:
    """What belongs to one kind of task. A class or function may be written as "module:name". It is then imported when
    it is first needed, so settings are checked before torch is loaded.

    >>> TASKS["classification"].load("module").__name__
    'Classification'
    """

    settings: type[Config]
    data: Any
    """A `TaskData`, called with (config); see `unroll.tasks.data`."""
    module: Any
    """A `TaskModule`, called with (config, data, total_steps); see `unroll.tasks.module`."""
    model: Any
    """The model in use, a class with `from_checkpoint(config, content)`; see `unroll.inference.load`."""
    callbacks: tuple[Any, ...] = ()
    """Lightning callbacks that show a validation's results in TensorBoard, each called with (data)."""
    explain: Any = None
    """A function (model in use, text) -> explanation, see `unroll.diagnostics.explain`; None if there is none."""
    pretraining: Any = None
    """A function (config) -> settings of a run that comes first, and whose weights this one starts from, or None."""
    examples: str = "examples"
    """The unit of the splits' sizes."""
    unit: str = "tokens"
    """The unit of a batch's `num_tokens`."""
    command: str = "evaluate"
    """The command that uses a trained model: `predict`, `generate` or `evaluate`."""
    arguments: str = ""
    """Arguments of that command for a first try; they are printed after training."""
    engines: tuple[str, ...] = ("torch",)
    """What the model in use can compute with, see `unroll.inference.engines`. Where there are several, its
    `from_checkpoint` takes a third argument, `engine`."""
    export: Any = None
    """What `unroll export` has to know, see `unroll.export.forms`; None if such models are not exported."""
    full_windows: bool = False
    """Whether all rows of a batch are full windows: a kernel's threads are then faster if they spin, see
    `unroll.runtime`."""

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
            pretraining="unroll.config:pretraining_of",
            command="predict",
            arguments='"I loved every minute."',
            engines=("torch", "onnx"),
            export="unroll.export.forms:ClassifierForm",
        ),
        "pretraining": TaskSpec(
            settings=PretrainingConfig,
            data="unroll.tasks.pretraining_data:PretrainingData",
            module="unroll.tasks.pretraining:Pretraining",
            model="unroll.inference.pretrained:LoadedDocumentLanguageModel",
        ),
        "language_modeling": TaskSpec(
            settings=LanguageModelingConfig,
            data="unroll.tasks.language_modeling_data:LanguageModelingData",
            module="unroll.tasks.language_modeling:LanguageModeling",
            model="unroll.inference.generate:LoadedLanguageModel",
            callbacks=("unroll.training.callbacks.samples:Samples",),
            explain="unroll.diagnostics.explain:surprise",
            examples="tokens",
            command="generate",
            arguments='--prompt "The"',
            export="unroll.export.forms:LanguageModelForm",
            full_windows=True,
        ),
    },
)


def register_task(kind: str, spec: TaskSpec) -> None:
    """Add a kind of task. A preset in `conf/task/` chooses it by `kind: NAME`.

    Raises:
        ValueError: the name is one of unroll's own, or no identifier.
    """
    TASKS.register(kind, spec)


def from_dict(values: Mapping[str, Any]) -> Any:
    """Check plain values, as YAML or a checkpoint holds them, and return the settings of their kind of task.

    Raises:
        ConfigError: a key is unknown, a value has the wrong type or is out of range, or two settings contradict each
            other; the message says what to write instead.
    """
    kind = values.get("kind", "classification")
    if not isinstance(kind, str):
        raise ConfigError(f"kind={kind!s:.40}: must be one of {', '.join(TASKS)}")
    return fields.build(TASKS[kind].settings(), values)


def load_data(config: Config) -> Any:
    """Return the `TaskData` of the settings, ready for use.

    Raises:
        DataError: the data can't be found or read, or does not fit the settings.
    """
    data = TASKS[config.kind].load("data")(config)
    data.prepare_data()
    data.setup()
    return data


def settings_of(content: Mapping[str, Any]) -> Any:
    """Return the settings in a checkpoint; those of an earlier format get today's names. See `from_dict`."""
    values = content["config"]
    return from_dict(legacy.translate(values) if content["format"] == 2 else values)


def unknown_key(key: str) -> ConfigError:
    """Return the error for a dotted key that is no setting of the run's task, with a suggestion."""
    known = {kind: list(fields.keys(TASKS[kind].settings)) for kind in TASKS}
    for kind, names in known.items():
        if key in names:
            return ConfigError(f"'{key}' is a setting of {kind} alone; leave it out, or choose such a task")
    return fields.unknown_key(key, [name for names in known.values() for name in names])
