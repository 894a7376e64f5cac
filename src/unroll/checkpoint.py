"""The file format of a trained model: one file of tensors and plain data, written atomically, loaded safely."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from unroll.durable import replacing
from unroll.errors import CheckpointError

FORMAT = 1

# What a checkpoint holds besides Lightning's own entries, and of which type.
SCHEMA: dict[str, type] = {
    "format": int,
    "task": str,
    "config": dict,  # plain values, see `unroll.config.from_dict`
    "vocabulary": list,  # of str: the token of each id
    "tokenizer": str,
    "labels": list,  # of str: the name of each class
    "data": dict,  # source, origin, fingerprint, …
    "versions": dict,
    "state_dict": dict,  # of Tensor
}


def save(content: dict[str, Any], path: Path) -> None:
    """Write `content` such that `path` is, at every moment, the old file or the new one.

    Raises:
        OSError: the folder can't be written, or the disk is full; `path` is then as it was.
    """
    with replacing(path) as file:
        torch.save(content, file)


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint as data: nothing in it is executed.

    Raises:
        CheckpointError: there is no such file, it is damaged or holds anything but tensors and plain data, or it was
            not written by this package.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(
            f"{path}: there is no such checkpoint; a run keeps its own in RUN_DIR/checkpoints/"
        ) from None
    except OSError as error:
        raise CheckpointError(f"{path}: can't be read ({error.strerror}); name a file such as best.ckpt") from error
    except Exception as error:  # torch's zip reader and unpickler raise many kinds; each means the same to the user
        raise CheckpointError(f"{path}: damaged, or not a checkpoint of unroll; nothing in it was run") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: not a checkpoint of unroll; it holds a {type(content).__name__}")
    for key, kind in SCHEMA.items():
        if not isinstance(content.get(key), kind):
            raise CheckpointError(
                f"{path}: not a checkpoint of unroll; its entry '{key}' is missing or no {kind.__name__}"
            )
    if content["format"] != FORMAT:
        raise CheckpointError(f"{path}: has format {content['format']}, this version reads {FORMAT}; upgrade unroll")
    return content
