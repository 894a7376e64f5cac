"""An exported model: a folder of files that any program can read, read here as a checkpoint is.

Nothing in it is run. The weights are numbers (safetensors), all else is JSON. `model.onnx` is for other programs:
unroll makes its graph from the weights, so a stranger's graph is never loaded.
"""

from __future__ import annotations

import hashlib
import json
import stat
from pathlib import Path
from typing import Any

from unroll import checkpoint
from unroll.errors import CheckpointError

FORMAT = 1
CONFIG, VOCABULARY, WEIGHTS = "config.json", "vocab.json", "model.safetensors"
GRAPH, CARD, EXAMPLE = "model.onnx", "README.md", "example.json"
LARGEST_TEXT = 2**25  # bytes of a JSON file

SHIPPED = Path(__file__).parents[1] / "shipped"  # models that the package brings along

_RESERVED = ("format", "sha256", "graph", "rounding", "tolerance")  # entries of config.json that no checkpoint has


def found(path: Path) -> Path:
    """Return a path that exists, or the folder of the model of that name that the package brings along: `novel`."""
    shipped = SHIPPED / path
    return shipped if path.parent == Path() and not path.exists() and (shipped / CONFIG).exists() else path


def read(folder: Path) -> dict[str, Any]:
    """Return the content of an exported model, in the form of a checkpoint's; the weights are arrays of NumPy.

    Raises:
        CheckpointError: a file is missing, damaged, larger than it may be, or not what `unroll export` writes.
    """
    if not (folder / CONFIG).exists():
        raise CheckpointError(
            f"{folder}: holds no exported model ({CONFIG} is missing); name a checkpoint such as best.ckpt, or a "
            "folder that `unroll export` made"
        )
    about = _json(folder / CONFIG, _bytes(folder / CONFIG, LARGEST_TEXT))
    try:
        version = checkpoint.entry(about, "format", int)
        digests = checkpoint.entry(about, "sha256", dict, of=str)
    except ValueError as error:
        raise CheckpointError(f"{folder / CONFIG}: not of an exported model; {error}") from error
    if version != FORMAT:
        raise CheckpointError(f"{folder / CONFIG}: has format {version}, this version reads {FORMAT}; upgrade unroll")
    vocabulary, weights = _bytes(folder / VOCABULARY, LARGEST_TEXT), _bytes(folder / WEIGHTS)
    for name, data in {VOCABULARY: vocabulary, WEIGHTS: weights}.items():
        if sha256(data) != digests.get(name):
            raise CheckpointError(f"{folder / name}: is not the file that {CONFIG} describes (SHA-256); export again")
    content = {name: value for name, value in about.items() if name not in _RESERVED}
    content |= _json(folder / VOCABULARY, vocabulary)
    content |= {"format": checkpoint.FORMAT, "state_dict": _arrays(folder / WEIGHTS, weights)}
    try:
        checkpoint.check(content)
    except ValueError as error:
        raise CheckpointError(f"{folder}: not an exported model of unroll; {error}") from error
    return content


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _json(path: Path, data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: damaged, it is no JSON; export the model again") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path}: not of an exported model; it holds a {type(value).__name__}")
    return value


def _arrays(path: Path, data: bytes) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        arrays: dict[str, Any] = load(data)  # no array is larger than its part of the file
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: damaged, its header does not describe it; export the model again") from error
    return arrays


def _bytes(path: Path, most: int | None = None) -> bytes:
    """Return a file's content. Devices and pipes, which may have no end, are refused."""
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):
            raise CheckpointError(f"{path}: is no file; export the model again")
        if most is not None and about.st_size > most:
            raise CheckpointError(f"{path}: has {about.st_size:,} bytes, more than the {most:,} that it may have")
        with path.open("rb") as file:
            return file.read(about.st_size)
    except OSError as error:
        raise CheckpointError(f"{path}: can't be read ({error.strerror}); export the model again") from error
