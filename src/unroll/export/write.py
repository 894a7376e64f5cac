"""From a checkpoint to a folder that other programs read, and that needs no torch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from unroll import __version__, checkpoint, durable
from unroll.commands import typed
from unroll.config import to_dict
from unroll.errors import ConfigError, UserError
from unroll.export.card import card
from unroll.export.forms import Form, Probabilities
from unroll.inference import folder as files
from unroll.inference.arrays import Arrays, Weights
from unroll.inference.engines import has_onnx, lacks_form
from unroll.inference.load import load, model_of
from unroll.shown import public_origin
from unroll.tasks.spec import TASKS

TOLERANCE = 1e-5  # of the example's probabilities
MOST_LOST = 0.1  # of a probability, by fewer bits

# Settings that say how a run was started, or where files lay: they are nobody else's business.
_OF_THE_RUN = ("run_dir", "resume", "init_from", "threads")
_PLACES = ("path", "folder")  # of the data


@dataclass(frozen=True)
class Exported:
    """What was written."""

    sizes: dict[str, int]  # bytes of each file
    lack: str  # why there is no model.onnx; empty if there is one
    rounding: float  # how far half precision moves the example's probabilities
    tolerance: dict[str, float]  # how far a file's probabilities may be from the example's
    use: str  # a command line to try the folder with


def export(path: Path, folder: Path, int8: bool = False, half: bool = False) -> Exported:
    """Write the model of a checkpoint to a new or empty folder, see `unroll.inference.folder`. The folder is complete
    or absent. Before it appears, the files are read again and must answer the example as the model does.

    Args:
        path: of the checkpoint.
        folder: does not exist, or is empty.
        int8: quantise `model.onnx` to 8 bits.
        half: store the weights in half precision.

    Raises:
        CheckpointError: the checkpoint can't be used.
        ConfigError: the folder is not empty, or models of this kind are not exported.
        UserError: onnx is not installed, or what was written does not answer as the model does.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise ConfigError(f"{folder}: is there already, and is no empty folder; name a new one")
    if files.found(path).is_dir():
        raise ConfigError(f"{path}: is exported already; name a checkpoint")
    content = checkpoint.load(path)
    original = model_of(content, path)
    config, spec = original.config, TASKS[original.config.kind]
    if spec.export is None:
        raise ConfigError(f"{path}: models of {config.kind} are not exported; use the checkpoint itself")
    form: Form = spec.load("export")()
    arrays = _narrowed(Weights.of(original.model).arrays, half)
    # Torch, with the weights as they are written, says what is right.
    model = model_of(content | {"state_dict": arrays}, path)
    weights, example = Weights.of(model.model), form.example(model)
    right = form.answer_by_torch(model, example)
    rounding = _distance(form.answer_by_torch(original, example), right) if half else 0.0
    if not rounding <= MOST_LOST:
        raise UserError(f"{path}: half precision moves probabilities by {rounding:.2g}; export without --half")
    lack, tolerance = _no_graph(config, arrays), {files.WEIGHTS: TOLERANCE}
    graph = None if lack else _graph(form, config, weights.arrays, half, int8)
    if graph is not None:
        tolerance[files.GRAPH] = _allowed(form, graph, example, right) if int8 else TOLERANCE
    data = content["data"]
    about = {name: content[name] for name in form.entries} | {
        "kind": config.kind,
        "task": content["task"],
        "config": _away(config),
        "data": data | {"origin": public_origin(data["source"], data["origin"])},
        "versions": content["versions"] | {"exported by unroll": __version__},
        "half": half,
        "int8": int8 and graph is not None,
        "rounding": rounding,
        "graph": lack or files.GRAPH,
        "tolerance": tolerance,
    }
    written = {
        files.WEIGHTS: save(arrays),
        files.VOCABULARY: _json(model.codec.about()),
        files.EXAMPLE: _json(example | {"probabilities": right.tolist()}),
        files.CARD: card(path, about, config, weights.parameters, f"{spec.command} . {spec.arguments}").encode(),
        **({} if graph is None else {files.GRAPH: graph}),
    }
    digests = {name: files.sha256(data) for name, data in written.items()}
    written[files.CONFIG] = _json(about | {"format": files.FORMAT, "sha256": digests})
    with durable.new_folder(folder) as place:
        for name, data in written.items():
            with durable.replacing(place / name) as file:
                file.write(data)
        _check(place, form, example, right, tolerance)
    sizes = {name: len(data) for name, data in sorted(written.items())}
    return Exported(sizes, lack, rounding, tolerance, f"{typed(spec.command, folder)} {spec.arguments}")


def _away(config: Any) -> dict[str, Any]:
    """Return the settings without what holds on the machine of the training alone."""
    values, defaults = to_dict(config), to_dict(type(config)())
    places = {name: defaults["data"][name] for name in _PLACES}
    return values | dict.fromkeys(_OF_THE_RUN) | {"data": values["data"] | places}


def _narrowed(arrays: Arrays, half: bool) -> dict[str, Any]:
    """Return the weights in the precision in which they are written."""
    wanted = np.float16 if half else np.float32
    kinds = {name: wanted if array.dtype.kind == "f" else array.dtype for name, array in arrays.items()}
    with np.errstate(over="ignore"):
        narrow = {name: np.asarray(array, kinds[name], order="C") for name, array in arrays.items()}
    for name, array in narrow.items():
        if not np.isfinite(array).all():
            raise UserError(f"the weight {name} is too large for half precision; export without --half")
    return narrow


def _no_graph(config: Any, arrays: Arrays) -> str:
    if lack := lacks_form(config.encoder, arrays):
        return lack
    if not has_onnx():
        raise UserError("an export is checked by onnxruntime, which is not installed; run `pip install 'unroll[onnx]'`")
    return ""


def _graph(form: Form, config: Any, arrays: Arrays, half: bool, int8: bool) -> bytes:
    from unroll.inference.onnx_engine import quantized

    graph = quantized(form.graph(config, arrays, False)) if int8 else form.graph(config, arrays, half)
    serialized: bytes = graph.SerializeToString()
    return serialized


def _allowed(form: Form, graph: bytes, example: dict[str, Any], right: Probabilities) -> float:
    """Return how far the probabilities of a graph of 8 bits may be from the right ones: twice what is measured here, as
    another processor rounds otherwise."""
    from unroll.inference.onnx_engine import session

    lost = _distance(form.answer_by_graph(session(graph), example), right)
    if not lost <= MOST_LOST:
        raise UserError(f"8 bits move probabilities by {lost:.2g}, more than {MOST_LOST}; export without --int8")
    return max(2 * lost, TOLERANCE)


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1) + "\n").encode()


def _check(place: Path, form: Form, example: dict[str, Any], right: Probabilities, tolerance: dict[str, float]) -> None:
    """Read the files again, and compare their answers."""
    by_torch = load(place, engine="torch")
    found = {files.WEIGHTS: form.answer(by_torch, example)}
    if files.GRAPH in tolerance:
        from unroll.inference.onnx_engine import session

        found[files.GRAPH] = form.answer_by_graph(session((place / files.GRAPH).read_bytes()), example)
    answers = [(name, answer, tolerance[name]) for name, answer in found.items()]
    answers.append(("the folder, loaded", form.answer(load(place), example), max(tolerance.values())))
    for name, answer, allowed in answers:
        if not _distance(answer, right) <= allowed:
            distance = (
                f"its probabilities are {_distance(answer, right):.2g} from the model's, {allowed:.2g} is allowed"
            )
            raise UserError(f"{name}: {distance}; nothing was kept")


def _distance(found: Probabilities, right: Probabilities) -> float:
    """Return the largest difference; NaN where a number is not finite."""
    return float(np.abs(found - right).max())
