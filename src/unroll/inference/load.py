"""From a checkpoint to a model in use."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from unroll import checkpoint
from unroll.config import from_dict
from unroll.errors import CheckpointError, ConfigError
from unroll.inference.classify import LoadedClassifier
from unroll.models.classifier import build_classifier
from unroll.text.vocabulary import Vocabulary


def load(path: str | Path) -> LoadedClassifier:
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
        config = from_dict(content["config"])
        vocabulary = Vocabulary(content["vocabulary"])
        labels = tuple(content["labels"])
        # Shapes without memory: the sizes that a file claims are not believed until its weights bear them out.
        with torch.device("meta"):
            model = build_classifier(config, len(vocabulary), len(labels))
        weights = {name.removeprefix("model."): value for name, value in content["state_dict"].items()}
        _check_weights(weights, model.state_dict())
        model.load_state_dict(weights, assign=True)
    except (ConfigError, ValueError, TypeError) as error:
        raise CheckpointError(f"{path}: its parts do not fit together: {error}") from error
    return LoadedClassifier(model.eval(), vocabulary, labels, config, content["data"])


def _check_weights(weights: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Compare names and shapes, one line for the first that differs (torch's own message names all)."""
    for name in sorted(weights.keys() ^ expected.keys()):
        raise ValueError(f"the weight {name} is {'not expected' if name in weights else 'missing'}")
    for name, weight in weights.items():
        if weight.shape != expected[name].shape:
            raise ValueError(f"the weight {name} is {tuple(weight.shape)}, not {tuple(expected[name].shape)}")
