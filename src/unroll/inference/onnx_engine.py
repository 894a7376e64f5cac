"""A classifier's logits by onnxruntime."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx
import onnxruntime
from onnx import ModelProto

from unroll.inference.engines import Batch, Done, Logits, batches, joined
from unroll.inference.forks import is_forked
from unroll.runtime import usable_cores
from unroll.text.codec import Ids

MAX_TOKENS = 2**12  # in a batch, padding counted: what fits a core's cache


class OnnxEngine:
    """Runs the graph of a `TextClassifier` on the CPU: one text on one core, many in batches on all cores.

    Each batch is computed by one thread, so none waits for another, and a forked process can still use it.
    """

    name = "onnx"

    def __init__(self, graph: ModelProto) -> None:
        self._session = session(graph.SerializeToString())

    def logits(self, rows: Sequence[Ids], done: Done = None) -> Logits:
        given = list(batches(rows, MAX_TOKENS))
        if len(given) < 2 or is_forked():
            return joined(map(self._run, given), done)
        with ThreadPoolExecutor(min(len(given), usable_cores())) as pool:
            return joined(pool.map(self._run, given), done)

    def _run(self, batch: Batch) -> tuple[list[int], Logits]:
        return batch.places, self._session.run(None, {"ids": batch.ids, "lengths": batch.lengths})[0]


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
