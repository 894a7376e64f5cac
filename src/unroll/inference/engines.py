"""What computes a classifier's logits: torch, or onnxruntime. Both give the same probabilities to 1e-5."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from unroll.config import ClassificationConfig, EncoderConfig
from unroll.errors import UserError
from unroll.inference.arrays import Arrays, Weights, is_own
from unroll.text.codec import Ids
from unroll.text.vocabulary import PAD_ID

ENGINES = ("auto", "torch", "onnx")
LARGEST_GRAPH = 2**31 - 2**20  # bytes of weights: an ONNX file with nothing beside it is smaller than 2 GiB

T = TypeVar("T")
Logits = npt.NDArray[Any]  # (rows, classes), float32 or float64


class Batch(NamedTuple):
    """Rows that are computed together."""

    ids: npt.NDArray[np.int64]  # (batch, time), `PAD_ID` beyond each row's end
    lengths: npt.NDArray[np.int64]  # (batch,)


class Engine(Protocol):
    """Computes the logits of texts. Threads may share one."""

    name: str

    def logits(self, rows: Sequence[Ids]) -> Logits:
        """Return the logits (rows, classes) of rows of ids, each of at least one, in their order."""

    def share(self, work: Callable[[list[int]], T], sizes: Sequence[int]) -> Iterator[tuple[list[int], T]]:
        """Return an iterator over what `work`, which calls `logits`, makes of groups of texts, with the places of each
        group's texts. A group has texts of like size.

        Groups may be worked on at the same time, and before the iterator is read.

        Args:
            work: from places in `sizes` to anything.
            sizes: of the texts, in tokens; a guess will do.
        """


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


def alike(sizes: Sequence[int], most: int) -> list[list[int]]:
    """Return groups of places of like size, the smallest first. A group's number times its largest size is at most
    `most`, or it is one place."""
    order = sorted(range(len(sizes)), key=sizes.__getitem__)
    groups: list[list[int]] = []
    for place in order:
        if groups and sizes[place] * (len(groups[-1]) + 1) <= most:
            groups[-1].append(place)
        else:
            groups.append([place])
    return groups


def in_batches(run: Callable[[Batch], Logits], rows: Sequence[Ids], most: int) -> Logits:
    """Return the logits of rows that `run` computes in batches of at most `most` ids, padding counted, or one row."""
    if len(rows) == 1:  # for one text, the rest takes as long as fifty words
        return run(Batch(rows[0][None].astype(np.int64), np.array([len(rows[0])])))
    groups = alike([len(row) for row in rows], most)
    found = np.concatenate([run(padded([rows[place] for place in group])) for group in groups])
    return found[np.argsort([place for group in groups for place in group])]


def padded(rows: Sequence[Ids]) -> Batch:
    """Return rows as a batch."""
    lengths = np.array([len(row) for row in rows], dtype=np.int64)
    ids = np.full((len(rows), lengths.max()), PAD_ID, dtype=np.int64)
    for line, row in zip(ids, rows, strict=True):
        line[: len(row)] = row
    return Batch(ids, lengths)
