"""What computes a classifier's logits: torch, or onnxruntime. Both give the same probabilities to 1e-5."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.util import find_spec
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from unroll.config import ClassificationConfig, EncoderConfig
from unroll.errors import UserError
from unroll.inference.arrays import Arrays, Weights, is_own
from unroll.text.codec import Ids
from unroll.text.vocabulary import PAD_ID

ENGINES = ("auto", "torch", "onnx")
LARGEST_GRAPH = 2**31 - 2**20  # bytes of weights: an ONNX file with nothing beside it is smaller than 2 GiB

Logits = npt.NDArray[Any]  # (rows, classes), float32 or float64
Done = Callable[[int], None] | None  # told how many rows are done


class Batch(NamedTuple):
    """Rows that are computed together."""

    places: list[int]  # of the rows
    ids: npt.NDArray[np.int64]  # (batch, time), `PAD_ID` beyond each row's end
    lengths: npt.NDArray[np.int64]  # (batch,)


class Engine(Protocol):
    """Computes the logits of texts. Threads may share one."""

    name: str

    def logits(self, rows: Sequence[Ids], done: Done = None) -> Logits:
        """Return the logits (rows, classes) of rows of ids, each of at least one, in their order."""


def engine_of(name: str, weights: Weights[Any], config: ClassificationConfig, int8: bool = False) -> Engine:
    """Return the engine called `name` of a classifier.

    `auto` is onnxruntime where it is installed and has a form of the model. Measured on two cores, it labels many texts
    1.4 to 2.8 times as fast as torch, and one text, on one core, 2 to 10 times. A single text of 270 words takes a
    minGRU or an LSTM of 256 units 1.2 to 1.4 times torch's time on both cores.

    Args:
        name: one of `ENGINES`.
        weights: of the model.
        config: its settings.
        int8: whether onnxruntime computes with weights of 8 bits.

    Raises:
        UserError: the engine is not installed, or has no form of the model.
    """
    lack = _lack(config.encoder, weights)
    if name == "torch" or (name == "auto" and lack):
        from unroll.inference.torch_engine import TorchEngine

        return TorchEngine(weights.module)
    if lack:
        raise UserError(f"engine=onnx: {lack}")
    from unroll.inference.graph import classifier_graph
    from unroll.inference.onnx_engine import OnnxEngine, quantized

    graph = classifier_graph(config, weights.arrays)
    return OnnxEngine(quantized(graph) if int8 else graph)


def _lack(encoder: EncoderConfig, weights: Weights[Any]) -> str:
    """Return why onnxruntime can't compute a model, an empty text if it can."""
    if not has_onnx():
        return "onnxruntime is not installed; run `pip install 'unroll[onnx]'`, or choose torch"
    return lacks_form(encoder, weights.arrays)


def has_onnx() -> bool:
    """Return whether the packages of the extra `[onnx]` are installed."""
    return all(find_spec(package) is not None for package in ("onnx", "onnxruntime"))


def lacks_form(encoder: EncoderConfig, arrays: Arrays) -> str:
    """Return why a model has no ONNX graph, an empty text if it has one."""
    if not is_own(encoder):
        return f"encoder.cell={encoder.cell} has no ONNX form; choose torch"
    if sum(4 * array.size for array in arrays.values()) > LARGEST_GRAPH:
        return "its weights are larger than an ONNX file can be (2 GiB); choose torch"
    return ""


def softmax(logits: Logits) -> Logits:
    """Return the probabilities (rows, classes) of logits."""
    exponentials: Logits = np.exp(logits - logits.max(axis=-1, keepdims=True))
    exponentials /= exponentials.sum(axis=-1, keepdims=True)
    return exponentials


def batches(rows: Sequence[Ids], most: int) -> Iterator[Batch]:
    """Yield batches of rows of like length, the shortest first. A batch has at most `most` ids, padding counted, or one
    row."""
    lengths = np.array([len(row) for row in rows], dtype=np.int64)
    order = np.argsort(lengths, kind="stable").tolist()
    start = 0
    for end in range(1, len(order) + 1):
        if end < len(order) and lengths[order[end]] * (end + 1 - start) <= most:
            continue
        places, start = order[start:end], end
        ids = np.full((len(places), lengths[places[-1]]), PAD_ID, dtype=np.int64)
        for line, place in zip(ids, places, strict=True):
            line[: lengths[place]] = rows[place]
        yield Batch(places, ids, lengths[places])


def joined(answers: Iterable[tuple[list[int], Logits]], done: Done) -> Logits:
    """Put the logits of batches, each with its places, into one array."""
    places: list[int] = []
    found: list[Logits] = []
    for its_places, logits in answers:
        places += its_places
        found.append(logits)
        if done is not None:
            done(len(places))
    return np.concatenate(found)[np.argsort(places)]
