"""ONNX graphs in onnxruntime against the torch models: every cell, direction, layer, pooling, head and output layer."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from unroll.encoders.state import as_parts
from unroll.export.write import MOST_LOST
from unroll.inference.arrays import Weights, classifier_shapes, language_model_shapes
from unroll.inference.engines import Batch, engine_of, in_batches, softmax
from unroll.inference.graph import classifier_graph, language_model_graph
from unroll.inference.onnx_engine import quantized, session
from unroll.models.classifier import TextClassifier, build_classifier
from unroll.models.language_model import LanguageModel, build_language_model
from unroll.tasks.spec import from_dict

CELLS = ("rnn_tanh", "rnn_relu", "gru", "lstm", "min_gru")
POOLINGS = (["last"], ["mean"], ["max"], ["max", "mean"], ["last", "mean", "max"])
WORDS, CLASSES = 30, 3


def classifier(
    cell: str, bidirectional: bool, layers: int, pooling: list[str], head: int
) -> tuple[Any, TextClassifier]:
    settings = {
        "encoder": {"cell": cell, "bidirectional": bidirectional, "num_layers": layers, "hidden_size": 9},
        "model": {"embedding_size": 7, "pooling": pooling, "head_size": head},
    }
    config = from_dict(settings)
    return config, randomised(build_classifier(config, WORDS, CLASSES))


def randomised(model: Any) -> Any:
    """No weight or bias is zero, and no state overflows."""
    for parameter in model.parameters():
        nn.init.uniform_(parameter, -0.3, 0.3)
    return model.eval()


def run(graph: onnx.ModelProto, **inputs: Any) -> list[np.ndarray]:
    onnx.checker.check_model(graph, full_check=True)
    given = {name: np.asarray(value) for name, value in inputs.items()}
    found: list[np.ndarray] = session(graph.SerializeToString()).run(None, given)
    return found


def close(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(np.asarray(found), np.asarray(expected), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("cell", "bidirectional", "layers"), list(product(CELLS, (False, True), (1, 2, 3))))
@torch.inference_mode()
def test_a_classifier_s_graph_is_the_model(cell: str, bidirectional: bool, layers: int) -> None:
    """Poolings and heads take turns: with each cell and direction there is each of them."""
    for turn, lengths in enumerate(([8, 1, 5, 3], [1], [40] * 7)):
        turn += layers + 3 * CELLS.index(cell)
        pooling, head = POOLINGS[turn % len(POOLINGS)], (0, 5)[turn % 2]
        config, model = classifier(cell, bidirectional, layers, pooling, head)
        ids, rows = torch.randint(WORDS, (len(lengths), max(lengths))), torch.tensor(lengths)
        (logits,) = run(classifier_graph(config, Weights(model).arrays), ids=ids, lengths=rows)
        close(logits, model(ids, rows))


@pytest.mark.parametrize("cell", CELLS)
@torch.inference_mode()
def test_long_rows_and_large_batches(cell: str) -> None:
    config, model = classifier(cell, True, 1, ["last", "mean", "max"], 0)
    graph = classifier_graph(config, Weights(model).arrays)
    for lengths in ([2000, 1, 777], list(range(1, 65))):
        ids, rows = torch.randint(WORDS, (len(lengths), max(lengths))), torch.tensor(lengths)
        (logits,) = run(graph, ids=ids, lengths=rows)
        close(logits, model(ids, rows))


@torch.inference_mode()
def test_windows_of_a_document_change_nothing() -> None:
    config, model = classifier("lstm", False, 1, ["mean"], 0)
    model.window = 4
    ids, rows = torch.randint(WORDS, (3, 19)), torch.tensor([19, 4, 9])
    (logits,) = run(classifier_graph(config, Weights(model).arrays), ids=ids, lengths=rows)
    close(logits, model(ids, rows))


def language_model(cell: str, layers: int, embedding: int | None, tied: bool, cutoffs: list[int]) -> tuple[Any, Any]:
    settings = {
        "kind": "language_modeling",
        "encoder": {"cell": cell, "num_layers": layers, "hidden_size": 16},
        "model": {"embedding_size": embedding, "tie_weights": tied, "cutoffs": cutoffs},
    }
    config = from_dict(settings)
    return config, randomised(build_language_model(config, WORDS))


@pytest.mark.parametrize(
    ("embedding", "tied", "cutoffs"), [(7, False, []), (None, False, []), (16, True, []), (7, False, [5, 12])], ids=str
)
@pytest.mark.parametrize("cell", CELLS)
@torch.inference_mode()
def test_a_language_model_s_graph_carries_its_state(
    cell: str, embedding: int | None, tied: bool, cutoffs: list[int]
) -> None:
    layers = 1 + CELLS.index(cell) % 2
    config, model = language_model(cell, layers, embedding, tied, cutoffs)
    assert isinstance(model, LanguageModel)
    ids = torch.randint(WORDS, (3, 12))
    expected, after = model(ids)
    state = {part: np.zeros((layers, 3, 16), np.float32) for part in model.encoder.state_parts}
    graph, logits = language_model_graph(config, Weights(model).arrays), []
    for part in (ids[:, :5], ids[:, 5:]):
        found, *parts = run(graph, ids=part, **state)
        logits.append(found)
        state = dict(zip(state, parts, strict=True))
    close(np.concatenate(logits, axis=1), expected)
    for found, right in zip(state.values(), as_parts(after), strict=True):
        close(found, right)


def test_the_shapes_by_the_settings_are_those_of_the_modules() -> None:
    def of(model: nn.Module) -> dict[str, tuple[int, ...]]:
        return {name: tuple(weight.shape) for name, weight in model.state_dict().items()}

    for cell, bidirectional, head in product(CELLS, (False, True), (0, 5)):
        config, model = classifier(cell, bidirectional, 2, ["max", "last"], head)
        assert classifier_shapes(config, WORDS, CLASSES) == of(model)
    for cell, (embedding, tied), cutoffs in product(CELLS, [(7, False), (None, False), (16, True)], ([], [5, 12])):
        if not (tied and cutoffs):
            config, model = language_model(cell, 2, embedding, tied, cutoffs)
            assert language_model_shapes(config, WORDS) == of(model)


@torch.inference_mode()
def test_half_precision_is_that_of_the_weights_alone() -> None:
    config, model = classifier("gru", True, 2, ["last", "max"], 5)
    ids, rows = torch.randint(WORDS, (4, 12)), torch.tensor([12, 1, 7, 9])
    graph = classifier_graph(config, Weights(model).arrays, half=True)
    assert {each.data_type for each in graph.graph.initializer if "constant" not in each.name} == {10}  # FLOAT16
    model.load_state_dict({name: weight.half().float() for name, weight in model.state_dict().items()})
    close(run(graph, ids=ids, lengths=rows)[0], model(ids, rows))


@pytest.mark.parametrize("cell", CELLS)
@torch.inference_mode()
def test_eight_bits_are_near_and_small(cell: str) -> None:
    config = from_dict({"encoder": {"cell": cell, "bidirectional": True}})
    model = build_classifier(config, 3000, CLASSES).eval()
    graph = classifier_graph(config, Weights(model).arrays)
    small = quantized(graph)
    ids, rows = torch.randint(3000, (4, 30)), torch.tensor([30, 1, 7, 9])
    logits: np.ndarray = session(small.SerializeToString()).run(None, {"ids": ids.numpy(), "lengths": rows.numpy()})[0]
    assert abs(softmax(logits) - model(ids, rows).softmax(-1).numpy()).max() < MOST_LOST
    assert small.ByteSize() < (0.3 if cell == "lstm" else 0.45) * graph.ByteSize()


def test_the_engines_agree_and_keep_the_order() -> None:
    config, model = classifier("lstm", True, 1, ["max", "mean"], 0)
    weights, lengths = Weights(model), [3, 900, 1, 12, 5000, 12, 700, 2]
    rows = [np.random.default_rng(length).integers(WORDS, size=length).astype(np.int32) for length in lengths]
    found = {name: engine_of(name, weights, config) for name in ("torch", "onnx")}
    assert {name: engine.name for name, engine in found.items()} == {"torch": "torch", "onnx": "onnx"}
    close(found["onnx"].logits(rows), found["torch"].logits(rows))
    for row in rows:
        close(found["onnx"].logits([row]), found["torch"].logits([row]))


def test_batches_hold_every_row_once_and_no_more_than_allowed() -> None:
    rows = [np.full(length, length, np.int32) for length in (5, 1, 9, 2, 2, 30, 1)]
    found: list[Batch] = []

    def run(batch: Batch) -> Any:
        found.append(batch)
        return batch.ids.sum(axis=1, keepdims=True)

    assert in_batches(run, rows, 10).tolist() == [[len(row) ** 2] for row in rows]
    for ids, lengths in found:
        assert ids.size <= 10 or len(lengths) == 1
        assert ids.shape == (len(lengths), max(lengths))
        for line, length in zip(ids.tolist(), lengths.tolist(), strict=True):
            assert line == [length] * length + [0] * (ids.shape[1] - length)
    assert len(found) < len(rows)


@pytest.mark.parametrize("name", ["torch", "onnx"])
def test_an_engine_shares_texts_out_once_in_groups_of_like_size(name: str) -> None:
    config, model = classifier("gru", False, 1, ["last"], 0)
    engine = engine_of(name, Weights(model), config)
    sizes = np.random.default_rng(0).integers(1, 40_000, 300).tolist()
    found = list(engine.share(lambda places: [sizes[place] for place in places], sizes))
    assert sorted(place for places, _ in found for place in places) == list(range(300))
    assert all(of == [sizes[place] for place in places] for places, of in found)
    ends = [bound for _, of in found for bound in (min(of), max(of))]
    assert len(found) > 1 and ends == sorted(ends)


@pytest.mark.parametrize("name", ["torch", "onnx"])
def test_what_fails_in_a_group_fails_outside(name: str) -> None:
    config, model = classifier("gru", False, 1, ["last"], 0)

    def fail(places: list[int]) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(engine_of(name, Weights(model), config).share(fail, [5000] * 9))
