"""From a checkpoint to a model in use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unroll import checkpoint
from unroll.config import ClassificationConfig, from_dict
from unroll.errors import CheckpointError, ConfigError
from unroll.inference.classify import LoadedClassifier
from unroll.inference.generate import LoadedLanguageModel
from unroll.models.classifier import build_classifier
from unroll.models.language_model import build_language_model
from unroll.text.vocabulary import Vocabulary


def load(path: str | Path) -> LoadedClassifier | LoadedLanguageModel:
    """Return the model of a checkpoint, ready for use.

    >>> model = load("runs/imdb/2026-01-01_12-00-00/checkpoints/best.ckpt")  # doctest: +SKIP
    >>> model.predict(["I loved every minute."])[0].label  # doctest: +SKIP
    'positive'

    Raises:
        CheckpointError: the file is missing, damaged, or no checkpoint of this package; nothing in it is executed.
    """
    path = Path(path)
    content = checkpoint.load(path)
    try:
        return _assemble(content)
    except (ConfigError, ValueError, TypeError) as error:
        raise CheckpointError(f"{path}: its parts do not fit together: {error}") from error


def load_classifier(path: str | Path) -> LoadedClassifier:
    """Return the classifier of a checkpoint; see `load`. A CheckpointError also where it is a language model's."""
    model = load(path)
    if not isinstance(model, LoadedClassifier):
        raise CheckpointError(f"{path}: is a language model; `python scripts/generate.py {path}` has it write")
    return model


def load_language_model(path: str | Path) -> LoadedLanguageModel:
    """Return the language model of a checkpoint; see `load`. A CheckpointError also where it is a classifier's."""
    model = load(path)
    if not isinstance(model, LoadedLanguageModel):
        raise CheckpointError(f'{path}: is a classifier; `python scripts/predict.py {path} "some text"` asks it')
    return model


def check_folder(folder: str, remedy: str) -> None:
    """Check that the folder for downloads and caches that a checkpoint names is in the current one, or has been used as
    one before: whoever made a checkpoint does not choose where files land.

    Raises:
        ConfigError: it is neither.
    """
    place = Path(folder)
    if not place.resolve().is_relative_to(Path.cwd()) and not (place / "cache").is_dir():
        raise ConfigError(f"the checkpoint keeps its data in {folder}, outside of the current folder; {remedy}")


def _assemble(content: dict[str, Any]) -> LoadedClassifier | LoadedLanguageModel:
    for entry in ("vocabulary", "labels"):
        if not all(isinstance(name, str) for name in content[entry]):
            raise ValueError(f"its entry '{entry}' holds something that is no string")
    config, vocabulary = from_dict(content["config"]), Vocabulary(content["vocabulary"])
    if isinstance(config, ClassificationConfig):
        labels = tuple(content["labels"])
        # Shapes without memory: the sizes that a file claims are not believed until its weights bear them out.
        with torch.device("meta"):
            classifier = build_classifier(config, len(vocabulary), len(labels))
        _assign(classifier, content["state_dict"])
        return LoadedClassifier(classifier.eval(), vocabulary, labels, config, content["data"])
    opening = content.get("opening")
    if not isinstance(opening, str) or len(opening) != 1:
        raise ValueError("its entry 'opening' is missing or not one character")
    with torch.device("meta"):
        language_model = build_language_model(config, len(vocabulary))
    _assign(language_model, content["state_dict"])
    return LoadedLanguageModel(language_model.eval(), vocabulary, opening, config, content["data"])


def _assign(model: nn.Module, state_dict: dict[str, Tensor]) -> None:
    """Give the model its weights. Names and shapes are compared first, one line for the first that differs (torch's own
    message names all)."""
    weights = {str(name).removeprefix("model."): value for name, value in state_dict.items()}
    expected = model.state_dict()
    for name in sorted(weights.keys() ^ expected.keys()):
        raise ValueError(f"the weight {name} is {'not expected' if name in weights else 'missing'}")
    for name, weight in weights.items():
        if not isinstance(weight, Tensor) or weight.shape != expected[name].shape:
            shape = tuple(weight.shape) if isinstance(weight, Tensor) else type(weight).__name__
            raise ValueError(f"the weight {name} is {shape}, not {tuple(expected[name].shape)}")
        # A view may claim any size of a few bytes, and a sparse tensor of none.
        if weight.layout != torch.strided or not weight.is_floating_point() or not weight.is_contiguous():
            raise ValueError(f"the weight {name} is not an array of floating-point numbers")
    model.load_state_dict(weights, assign=True)
