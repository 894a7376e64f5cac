"""The figures of a loaded model on data: on a file, or on a part of the corpus that it was trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from unroll.config.fields import brief
from unroll.errors import ConfigError, DataError
from unroll.inference.load import check_folder, load
from unroll.tasks.spec import load_data


def evaluate(
    checkpoint: Path,
    path: Path | None,
    split: str,
    dynamic: bool = False,
    mix: bool = False,
    engine: str = "auto",
) -> dict[str, float]:
    """Return the figures of a checkpoint's model on a file, or on a part of the model's own corpus.

    Args:
        checkpoint: its path, or that of an exported folder.
        path: for a classifier a table, or a folder with a table test.*; for a language model a text. None stands for
            the corpus of the model's settings, split as for training.
        split: "val" or "test".
        dynamic: let a language model learn from the text as it reads it, see `unroll.inference.score`.
        mix: add the figures of a mixture with counted n-grams of the model's own training data, see `unroll.ngrams`.
        engine: what computes a classifier's logits, see `unroll.load`.

    Raises:
        CheckpointError: the checkpoint can't be used, or it lacks the gradient statistics that `dynamic` needs.
        ConfigError: `dynamic` with a model that is no language model, or `mix` with a kind of model that has none.
        DataError: the data can't be had, do not fit the model, or are not the model's corpus.
    """
    model = load(checkpoint, engine=engine)
    if dynamic and not hasattr(model, "score_dynamically"):
        raise ConfigError(f"{checkpoint}: is a model of {model.config.kind}; --dynamic is for language models")
    if mix and not hasattr(model, "score_mixed"):
        raise ConfigError(
            f"{checkpoint}: is a model of {model.config.kind}, which has no count expert; leave out --mix"
        )
    data = _own(model, "leave out --mix" if mix else "name the data with --data PATH") if mix or path is None else None
    part = getattr(data, split) if path is None else model.read(path, split)
    figures: dict[str, float]
    if mix:
        figures = model.score_mixed(part, data, *([checkpoint] if dynamic else []))
    else:
        figures = model.score_dynamically(part, checkpoint) if dynamic else model.score(part)
    return figures


def _own(model: Any, remedy: str) -> Any:
    """Return the corpus that the model was trained on."""
    check_folder(model.config.data.folder, remedy)
    try:
        data = load_data(model.config)
    except DataError as error:
        raise DataError(f"the model's training data can't be had: {error}; or {remedy}") from error
    place = f"the {data.source} corpus ({data.origin})"
    if data.fingerprint != model.data["fingerprint"]:
        trained_on = brief(model.data["origin"])
        raise DataError(f"{place} is not the one that the model was trained on ({trained_on}); {remedy}")
    if getattr(data, "codec", None) != getattr(model, "codec", None):
        raise DataError(f"{place} has other symbols than the model when it was trained; {remedy}")
    return data
