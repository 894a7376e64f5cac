"""Models as ONNX graphs, made node by node: one LSTM, GRU or RNN node a layer, batch and length free.

torch's own exporter fixes the batch and the length of bidirectional nets. Inputs and outputs have the batch first, as
in the torch models; within, time comes first, as ONNX's recurrent nodes have it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from unroll.config import ClassificationConfig, EncoderConfig, LanguageModelingConfig
from unroll.inference.arrays import Array, Arrays, suffixes

OPSET, IR_VERSION = 17, 8  # onnxruntime reads these from version 1.12 on

# How a cell is called in ONNX, and the order of its gates there: LSTM i, f, g, o -> i, o, f, c; GRU r, z, n -> z, r, h.
_NODES: dict[str, tuple[str, tuple[int, ...], dict[str, Any]]] = {
    "rnn_tanh": ("RNN", (0,), {}),
    "rnn_relu": ("RNN", (0,), {"activations": ["Relu"]}),
    "gru": ("GRU", (1, 0, 2), {"linear_before_reset": 1}),
    "lstm": ("LSTM", (0, 3, 1, 2), {}),
}
_STATES = {"lstm": ("hidden", "cell")}  # the parts of a cell's state; of any other, `hidden` alone


def classifier_graph(config: ClassificationConfig, arrays: Arrays, half: bool = False) -> ModelProto:
    """Return the graph of a `TextClassifier`: in `ids` (batch, time) and `lengths` (batch,), int64; out `logits`
    (batch, classes). What stands beyond a row's length changes nothing.

    Args:
        config: its settings.
        arrays: its weights, float32.
        half: store the weights as float16. They are widened where they are used: it computes in float32.
    """
    graph, encoder, head = _Graph(arrays, half), config.encoder, config.model.head_size
    x = graph.add("Gather", graph.weight("embedding.weight"), graph.add("Transpose", "ids", perm=[1, 0]))
    steps = graph.add("Range", graph.whole(0), graph.size(x, 0), graph.whole(1))
    inside = graph.add("Less", graph.unsqueezed(steps, 1, 2), graph.unsqueezed("lengths", 0, 2))  # (time, batch, 1)
    output, states = _encode(graph, encoder, x, lengths="lengths", inside=inside)

    def pooled(name: str) -> str:
        if name == "last":
            return graph.add("Reshape", graph.add("Transpose", states[0][-1], perm=[1, 0, 2]), graph.wholes(0, -1))
        if name == "max":
            kept = graph.add("Where", inside, output, graph.real(-np.inf))
            return graph.add("ReduceMax", kept, axes=[0], keepdims=0)
        total = graph.add("ReduceSum", graph.add("Where", inside, output, graph.real(0)), graph.wholes(0), keepdims=0)
        return graph.add("Div", total, graph.unsqueezed(graph.add("Cast", "lengths", to=TensorProto.FLOAT), 1))

    x = graph.add("Concat", *map(pooled, config.model.pooling), axis=1)
    if head:
        x = graph.add("Relu", graph.linear(x, "head.0"))
    logits = graph.linear(x, "head.2" if head else "head.0")
    inputs = [_ids("ids", "batch", "time"), _ids("lengths", "batch")]
    classes = len(arrays["head.2.bias" if head else "head.0.bias"])
    return graph.model(inputs, {logits: _reals("logits", "batch", classes)})


def language_model_graph(config: LanguageModelingConfig, arrays: Arrays, half: bool = False) -> ModelProto:
    """Return the graph of a `LanguageModel`: in `ids` (batch, time), int64, and the state before the first of them,
    `hidden` and, of an LSTM, `cell` (layers, batch, features); out `logits` (batch, time, vocabulary), of an adaptive
    softmax log-probabilities, and the state after the last, `next_hidden` and `next_cell`. A text begins with zeros.

    Args:
        config: its settings.
        arrays: its weights, float32.
        half: see `classifier_graph`.
    """
    graph, encoder = _Graph(arrays, half), config.encoder
    ids, embedding = graph.add("Transpose", "ids", perm=[1, 0]), config.model.embedding_size
    if embedding is None:
        depth = arrays["encoder.projections.0.weight" if encoder.cell == "min_gru" else "encoder.weight_ih_l0"].shape[1]
        ends = graph.constant(np.array([0, 1], np.float32))
        x = graph.add("OneHot", ids, graph.whole(depth), ends, axis=-1)
    else:
        x = graph.add("Gather", graph.weight("embedding.weight"), ids)
    parts = _STATES.get(encoder.cell, ("hidden",))
    output, states = _encode(graph, encoder, x, state=parts)
    if config.model.cutoffs:
        logits = _adaptive(graph, config.model.cutoffs, output)
    else:
        weight = "embedding.weight" if config.model.tie_weights else "weight"
        logits = graph.add("Add", graph.product(output, weight), graph.weight("bias"))
    logits = graph.add("Transpose", logits, perm=[1, 0, 2])
    size = len(arrays["bias"]) if "bias" in arrays else "vocabulary"
    shape = (encoder.num_layers, "batch", encoder.hidden_size)
    outputs = {logits: _reals("logits", "batch", "time", size)}
    for part, layers in zip(parts, states, strict=True):
        outputs[graph.add("Concat", *layers, axis=0)] = _reals(f"next_{part}", *shape)
    inputs = [_reals(part, *shape) for part in parts]
    return graph.model([_ids("ids", "batch", "time"), *inputs], outputs)


def _encode(
    graph: _Graph, encoder: EncoderConfig, x: str, lengths: str = "", inside: str = "", state: Sequence[str] = ()
) -> tuple[str, list[list[str]]]:
    """Add the layers over `x` (time, batch, features).

    Returns:
        The output (time, batch, directions x features), and for each part of the state that of each layer after the
        rows' last steps, (directions, batch, features).
    """
    layers = []
    short = graph.add("Cast", lengths, to=TensorProto.INT32) if lengths else ""
    for layer in range(encoder.num_layers):
        before = [graph.add("Gather", part, graph.wholes(layer), axis=0) for part in state]
        if encoder.cell == "min_gru":
            x, *after = _min_gru(graph, encoder, layer, x, inside, before)
        else:
            x, *after = _recurrent(graph, encoder, layer, x, short, before)
        layers.append(after)
    return x, [list(part) for part in zip(*layers, strict=True)]


def _recurrent(
    graph: _Graph, encoder: EncoderConfig, layer: int, x: str, lengths: str, before: Sequence[str]
) -> list[str]:
    """Add a layer as one node; return its output and the parts of its state."""
    operator, order, attributes = _NODES[encoder.cell]
    ends = [f"_l{layer}{suffix}" for suffix in suffixes(encoder.bidirectional)]

    def arranged(name: str) -> Array:
        blocks = np.split(graph.arrays[f"encoder.{name}"], len(order))
        return np.concatenate([blocks[gate] for gate in order])

    weights = [
        np.stack([arranged(f"weight_ih{end}") for end in ends]),
        np.stack([arranged(f"weight_hh{end}") for end in ends]),
        np.stack([np.concatenate([arranged(f"bias_ih{end}"), arranged(f"bias_hh{end}")]) for end in ends]),
    ]
    names = [graph.stored(f"{kind}{layer}", w) for kind, w in zip(("W", "R", "B"), weights, strict=True)]
    if "activations" in attributes:
        attributes = {"activations": attributes["activations"] * len(ends)}
    output, *after = graph.add_all(
        1 + len(_STATES.get(encoder.cell, ("hidden",))),
        operator,
        *(x, *names, lengths, *before),
        hidden_size=encoder.hidden_size,
        direction="bidirectional" if encoder.bidirectional else "forward",
        **attributes,
    )
    # From (time, directions, batch, features) to (time, batch, directions x features).
    return [graph.add("Reshape", graph.add("Transpose", output, perm=[0, 2, 1, 3]), graph.wholes(0, 0, -1)), *after]


def _min_gru(
    graph: _Graph, encoder: EncoderConfig, layer: int, x: str, inside: str, before: Sequence[str]
) -> list[str]:
    """Add a layer as one product and, for each direction, a loop over the steps; see `unroll.encoders.MinGRU`."""
    directions = len(suffixes(encoder.bidirectional))
    projected = graph.linear_steps(x, f"encoder.projections.{layer}")
    parts = graph.add_all(2 * directions, "Split", projected, axis=-1)
    outputs, states = [], []
    for direction in range(directions):
        gate, candidate = parts[2 * direction : 2 * direction + 2]
        if inside:  # a shut gate keeps the state
            gate = graph.add("Where", inside, gate, graph.real(-np.inf))
        positive = graph.add(
            "Where",
            graph.add("GreaterOrEqual", candidate, graph.real(0)),
            graph.add("Add", candidate, graph.real(0.5)),
            graph.add("Sigmoid", candidate),
        )
        new = graph.add("Mul", graph.add("Sigmoid", gate), positive)
        keep = graph.add("Sigmoid", graph.add("Neg", gate))
        zero = graph.add("Mul", graph.add("Gather", new, graph.whole(0), axis=0), graph.real(0))
        start = graph.add("Squeeze", before[0], graph.wholes(0)) if before else zero
        state, output = graph.add_all(
            *(2, "Scan", start, keep, new),
            body=_step(),
            num_scan_inputs=2,
            scan_input_directions=[direction] * 2,
            scan_output_directions=[direction],
        )
        outputs.append(output)
        states.append(graph.unsqueezed(state, 0))
    return [graph.add("Concat", *outputs, axis=2), graph.add("Concat", *states, axis=0)]


def _step() -> GraphProto:
    """Return the body of minGRU's loop: h_t = keep_t h_{t-1} + new_t."""
    names = {name: _reals(name) for name in ("h", "keep", "new", "next", "out")}
    nodes = [
        helper.make_node("Mul", ["keep", "h"], ["kept"]),
        helper.make_node("Add", ["kept", "new"], ["next"]),
        helper.make_node("Identity", ["next"], ["out"]),
    ]
    h, keep, new, next_, out = names.values()
    return helper.make_graph(nodes, "step", [h, keep, new], [next_, out])


def _adaptive(graph: _Graph, cutoffs: Sequence[int], output: str) -> str:
    """Add an adaptive softmax, as torch's `AdaptiveLogSoftmaxWithLoss.log_prob` has it: log-probabilities."""
    head = graph.add("LogSoftmax", graph.linear_steps(output, "adaptive.head"), axis=-1)

    def part(begin: int, end: int) -> str:
        return graph.add("Slice", head, graph.wholes(begin), graph.wholes(end), graph.wholes(2))

    found = [part(0, cutoffs[0])]
    for number in range(len(cutoffs)):
        names = [f"adaptive.tail.{number}.{place}.weight" for place in (0, 1)]
        tail = graph.add("LogSoftmax", graph.product(graph.product(output, names[0]), names[1]), axis=-1)
        found.append(graph.add("Add", tail, part(cutoffs[0] + number, cutoffs[0] + number + 1)))
    return graph.add("Concat", *found, axis=2)


def _ids(name: str, *shape: Any) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.INT64, shape)


def _reals(name: str, *shape: Any) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape or None)


class _Graph:
    """A graph that grows node by node. Its methods return the names of what they add."""

    def __init__(self, arrays: Arrays, half: bool) -> None:
        self.arrays, self._half = arrays, half
        self._nodes: list[NodeProto] = []
        self._initializers: dict[str, TensorProto] = {}
        self._widened: dict[str, str] = {}  # the names under which weights are used

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        return self.add_all(1, operator, *inputs, **attributes)[0]

    def add_all(self, outputs: int, operator: str, *inputs: str, **attributes: Any) -> list[str]:
        name = f"{operator.lower()}_{len(self._nodes)}"
        names = [name, *(f"{name}_{number}" for number in range(1, outputs))]
        self._nodes.append(helper.make_node(operator, inputs, names, name=name, **attributes))
        return names

    def constant(self, values: Array) -> str:
        return self._initializer(f"constant_{values.dtype}_{values.tolist()}", values)

    def _initializer(self, name: str, values: Array) -> str:
        if name not in self._initializers:
            self._initializers[name] = numpy_helper.from_array(values, name)
        return name

    def whole(self, value: int) -> str:
        return self.constant(np.array(value, np.int64))

    def wholes(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64))

    def real(self, value: float) -> str:
        return self.constant(np.array(value, np.float32))

    def weight(self, name: str) -> str:
        return self.stored(name, self.arrays[name])

    def stored(self, name: str, values: Array) -> str:
        """Store a weight, in half precision where that is asked for."""
        if not self._half:
            return self._initializer(name, values.astype(np.float32, copy=False))
        if name not in self._widened:
            narrow = self._initializer(name, values.astype(np.float16))
            self._widened[name] = self.add("Cast", narrow, to=TensorProto.FLOAT)
        return self._widened[name]

    def product(self, x: str, weight: str) -> str:
        """Of `x` (…, features) with a weight (rows, features): (…, rows)."""
        return self.add("MatMul", x, self.add("Transpose", self.weight(weight), perm=[1, 0]))

    def linear(self, x: str, layer: str) -> str:
        return self.add("Gemm", x, self.weight(f"{layer}.weight"), self.weight(f"{layer}.bias"), transB=1)

    def linear_steps(self, x: str, layer: str) -> str:
        return self.add("Add", self.product(x, f"{layer}.weight"), self.weight(f"{layer}.bias"))

    def size(self, x: str, axis: int) -> str:
        return self.add("Gather", self.add("Shape", x), self.whole(axis))

    def unsqueezed(self, x: str, *axes: int) -> str:
        return self.add("Unsqueeze", x, self.wholes(*axes))

    def model(self, inputs: Sequence[ValueInfoProto], outputs: dict[str, ValueInfoProto]) -> ModelProto:
        """Return the model; `outputs` are described by the names that they have so far."""
        for name, described in outputs.items():
            self._nodes.append(helper.make_node("Identity", [name], [described.name], name=described.name))
        graph = helper.make_graph(
            self._nodes, "unroll", inputs, list(outputs.values()), list(self._initializers.values())
        )
        versions = {"opset_imports": [helper.make_opsetid("", OPSET)], "ir_version": IR_VERSION}
        return helper.make_model(graph, producer_name="unroll", **versions)
