"""The figures of a loaded model on data: on a file, or on a part of the corpus that it was trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from unroll.config.fields import brief
from unroll.errors import ConfigError, DataError
from unroll.inference.load import check_folder, load
from unroll.tasks.spec import load_data


def evaluate(checkpoint: Path, path: Path | None, split: str, dynamic: bool = False) -> dict[str, float]:
    """Return the figures of a checkpoint's model on a file, or on a part of the model's own corpus.

    Args:
        checkpoint: its path.
        path: for a classifier a table, or a folder with a table test.*; for a language model a text. None stands for
            the corpus of the model's settings, split as for training.
        split: "val" or "test".
        dynamic: let a language model learn from the text as it reads it, see `unroll.inference.score`.

    Raises:
        CheckpointError: the checkpoint can't be used, or it lacks the gradient statistics that `dynamic` needs.
        ConfigError: `dynamic` with a model that is no language model.
        DataError: the data can't be had, do not fit the model, or are not the model's corpus.
    """
    model = load(checkpoint)
    if dynamic and not hasattr(model, "score_dynamically"):
        raise ConfigError(f"{checkpoint}: is a model of {model.config.kind}; --dynamic is for language models")
    part = _own(model, split) if path is None else model.read(path, split)
    figures: dict[str, float] = model.score_dynamically(part, checkpoint) if dynamic else model.score(part)
    return figures


def _own(model: Any, split: str) -> Any:
    """Return a part of the corpus that the model was trained on."""
    check_folder(model.config.data.folder, "name the data with --data PATH")
    data = load_data(model.config)
    same_vocabulary = getattr(data, "vocabulary", None) == getattr(model, "vocabulary", None)
    if data.fingerprint != model.data["fingerprint"] or not same_vocabulary:
        raise DataError(
            f"the {data.source} corpus ({data.origin}) is not the one that the model was trained on "
            f"({brief(model.data['origin'])}); name the data with --data PATH"
        )
    return getattr(data, split)
