"""A new run that starts from the weights of another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unroll import checkpoint
from unroll.errors import CheckpointError
from unroll.tasks.module import TaskModule

SHOWN = 8  # names in a note


@torch.no_grad()
def initialise(module: TaskModule, path: Path) -> list[str]:
    """Copy the weights of a checkpoint into an untrained model where names and shapes fit.

    Of a weight that has a row for each token (`vocabulary_weights` of the model) the rows follow their tokens, where
    the other dimensions fit.

    Returns:
        What was copied and what was not, a line each.

    Raises:
        CheckpointError: the checkpoint can't be read, or nothing in it fits.
    """
    content = checkpoint.load(path)
    theirs = {str(name).removeprefix("model."): weight for name, weight in content["state_dict"].items()}
    by_rows = getattr(module.model, "vocabulary_weights", ())
    rows = _rows_of_tokens(module.about_data.get("vocabulary", []), content.get("vocabulary"))
    whole, by_token, left = [], [], []
    for name, weight in module.model.state_dict().items():
        found = theirs.get(name)
        if not isinstance(found, Tensor) or not found.is_floating_point() or not bool(found.isfinite().all()):
            left.append(name)
        elif name in by_rows and found.shape[1:] == weight.shape[1:] and len(rows[0]):
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
        tokens = len(module.about_data["vocabulary"])
        notes.append(f"  by token, {len(rows[0]):,} of {tokens:,} that are in both vocabularies: {_names(by_token)}")
    if left:
        notes.append(f"  untrained, for want of a weight of this name and shape: {_names(left)}")
    return notes


def _rows_of_tokens(ours: list[str], theirs: Any) -> tuple[list[int], list[int]]:
    """Return the rows, here and there, of the tokens that are in both vocabularies."""
    places = {token: row for row, token in enumerate(theirs)} if isinstance(theirs, list) else {}
    both = [(row, places[token]) for row, token in enumerate(ours) if token in places]
    return [row for row, _ in both], [row for _, row in both]


def _names(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return (", ".join(names[:SHOWN]) or "no weight whole") + more
