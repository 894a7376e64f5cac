"""A new run that starts from the weights of another."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unroll import checkpoint
from unroll.errors import CheckpointError
from unroll.inference.content import words
from unroll.tasks.module import TaskModule
from unroll.text.tokenizers import BYTE_LEVEL

SHOWN = 8  # names in a note


@torch.no_grad()
def initialise(module: TaskModule, path: Path) -> list[str]:
    """Copy the weights of a checkpoint into an untrained model where names and shapes fit.

    A weight with a row for each token (`vocabulary_weights` of the model) is copied row by row: each token that is in
    both vocabularies takes its row along. Weights of clusters of tokens (`cluster_weights`) are copied where vocabulary
    and clusters are the same.

    Returns:
        What was copied and what was not, a line each.

    Raises:
        CheckpointError: the checkpoint can't be read, nothing in it fits, or a weight is not finite.
    """
    content = checkpoint.load(path)
    theirs = {str(name).removeprefix("model."): weight for name, weight in content["state_dict"].items()}
    by_rows = getattr(module.model, "vocabulary_weights", ())
    tokens = _tokens(content) if _byte_level(content) == _byte_level(module.about_data) else []
    rows = _rows_of_tokens(module.about_data.get("vocabulary", []), tokens)
    clusters = getattr(module.model, "cluster_weights", ())
    same_clusters = tokens == module.about_data.get("vocabulary") and (
        _shapes(theirs, clusters) == _shapes(module.model.state_dict(), clusters)
    )
    whole, by_token, left, of_others = [], [], [], []
    for name, weight in module.model.state_dict().items():
        found = theirs.get(name)
        if not isinstance(found, Tensor) or not found.is_floating_point():
            left.append(name)
        elif not bool(found.isfinite().all()):
            raise CheckpointError(f"{path}: the weight {name} is not finite: the training diverged; use another one")
        elif name.startswith(clusters) and not same_clusters:
            of_others.append(name)
        elif name in by_rows and found.shape == (len(tokens), *weight.shape[1:]) and len(rows[0]):
            weight[rows[0]] = found[rows[1]].to(weight)
            by_token.append(name)
        elif name not in by_rows and found.shape == weight.shape:
            weight.copy_(found)
            whole.append(name)
        else:
            left.append(name)
    if not whole and not by_token:
        raise CheckpointError(f"{path}: none of its weights fits this model; give it the same encoder.* and model.*")
    notes = [f"initialised from {path}: {_names(whole)}"]
    if by_token:
        ours = len(module.about_data["vocabulary"])
        notes.append(f"  by token, {len(rows[0]):,} of {ours:,} that are in both vocabularies: {_names(by_token)}")
    if left:
        notes.append(f"  untrained, for want of a weight of this name and shape: {_names(left)}")
    if of_others:
        notes.append(f"  untrained, since the other run has other clusters of tokens: {_names(of_others)}")
    return notes


def _byte_level(content: Mapping[str, Any]) -> bool:
    """Whether tokens are made of bytes: `é` is then another token than the character `é`."""
    return content.get("tokenizer") in BYTE_LEVEL


def _tokens(content: dict[str, Any]) -> list[str]:
    """Return the tokens of a checkpoint's vocabulary; none where it has no vocabulary."""
    try:
        return words(content, "vocabulary")
    except ValueError:
        return []


def _rows_of_tokens(ours: list[str], theirs: list[str]) -> tuple[list[int], list[int]]:
    """Return the rows, here and there, of the tokens that are in both vocabularies."""
    places = {token: row for row, token in enumerate(theirs)}
    both = [(row, places[token]) for row, token in enumerate(ours) if token in places]
    return [row for row, _ in both], [row for _, row in both]


def _shapes(weights: Mapping[str, Any], prefixes: tuple[str, ...]) -> dict[str, Any]:
    """Return the shapes of the weights whose names begin with one of the prefixes."""
    return {name: getattr(weight, "shape", None) for name, weight in weights.items() if name.startswith(prefixes)}


def _names(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return (", ".join(names[:SHOWN]) or "no weight whole") + more
