"""A classifier's logits by onnxruntime."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx
import onnxruntime
from onnx import ModelProto

from unroll.inference.engines import Batch, Logits, T, alike, in_batches
from unroll.inference.forks import is_forked
from unroll.runtime import usable_cores
from unroll.text.codec import Ids

MAX_TOKENS = 2**12  # in a batch, padding counted: what fits a core's cache
FEW_TOKENS = 2**11  # in a group of a few texts, so that all cores have some: half the time for 8 reviews


class OnnxEngine:
    """Runs the graph of a `TextClassifier` on the CPU: one text on one core, many in groups on all cores.

    Each group is worked on by one thread, so none waits for another, and a forked process can still use it: alone,
    since it has no other threads. While one thread cuts texts into tokens, another computes. The threads stay: to start
    them takes as long as three reviews.
    """

    name = "onnx"

    def __init__(self, graph: ModelProto) -> None:
        self._session = session(graph.SerializeToString())
        self._cores = usable_cores()
        self._threads = ThreadPoolExecutor(self._cores, "onnx")

    def logits(self, rows: Sequence[Ids]) -> Logits:
        return in_batches(self._run, rows, MAX_TOKENS)

    def share(self, work: Callable[[list[int]], T], sizes: Sequence[int]) -> Iterator[tuple[list[int], T]]:
        groups = alike(sizes, min(max(sum(sizes) // (2 * self._cores), FEW_TOKENS), MAX_TOKENS))
        alone = len(groups) < 2 or self._cores < 2 or is_forked()
        return zip(groups, (map if alone else self._threads.map)(work, groups), strict=True)

    def _run(self, batch: Batch) -> Logits:
        logits: Logits = self._session.run(None, {"ids": batch.ids, "lengths": batch.lengths})[0]
        return logits


def quantized(graph: ModelProto) -> ModelProto:
    """Return a graph with weights of 8 bits, by onnxruntime's dynamic quantisation: a quarter of the size. LSTM layers
    and products compute with 8 bits; GRU and RNN layers and minGRU's loop stay as they are."""
    from onnxruntime.quantization import quantize_dynamic

    with TemporaryDirectory() as place, _without_warnings():
        quantize_dynamic(graph, Path(place, "int8.onnx"))
        return onnx.load(Path(place, "int8.onnx"))


@contextmanager
def _without_warnings() -> Iterator[None]:
    """onnxruntime.quantization warns of each input that is no number."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def session(graph: bytes) -> onnxruntime.InferenceSession:
    """Return a session of a serialised graph that computes on the calling thread alone."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3  # errors
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
