"""An embedding trained by rows: its equations in plain Python, and torch's own embedding, Adam and SparseAdam."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.tasks.conftest import MakeTask
from unroll.errors import ConfigError
from unroll.tasks.finite import not_finite_gradients
from unroll.tasks.row_adam import RowAdam, RowEmbedding, coalesced, embed_by_rows

ROWS, FEATURES = 9, 3


def pair(padding: int | None = 0) -> tuple[nn.Embedding, RowEmbedding]:
    """torch's embedding and one by rows with equal weights, in float64."""
    theirs = nn.Embedding(ROWS, FEATURES, padding_idx=padding).double()
    copy = nn.Sequential(nn.Embedding(ROWS, FEATURES, padding_idx=padding).double())
    copy[0].load_state_dict(theirs.state_dict())
    embed_by_rows(copy)
    ours = copy[0]
    assert isinstance(ours, RowEmbedding)
    return theirs, ours


def differentiate(embedding: nn.Embedding, ids: Tensor, weights: Tensor) -> None:
    (embedding(ids) * weights).sum().backward()


def by_hand(weight: list[list[float]], batches: list[tuple[list[int], list[list[float]]]], **of: float) -> Any:
    """The docstring's equations, a number at a time: `batches` holds the ids of each step, and a gradient for each."""
    mean = [[0.0] * FEATURES for _ in range(ROWS)]
    square = [[0.0] * FEATURES for _ in range(ROWS)]
    for t, (ids, gradients) in enumerate(batches, start=1):
        for row in sorted(set(ids)):
            for k in range(FEATURES):
                g = sum(gradient[k] for number, gradient in zip(ids, gradients, strict=True) if number == row)
                mean[row][k] = of["beta1"] * mean[row][k] + (1 - of["beta1"]) * g
                square[row][k] = of["beta2"] * square[row][k] + (1 - of["beta2"]) * g * g
                m, v = mean[row][k] / (1 - of["beta1"] ** t), square[row][k] / (1 - of["beta2"] ** t)
                decayed = weight[row][k] * (1 - of["lr"] * of["decay"])
                weight[row][k] = decayed - of["lr"] * m / (math.sqrt(v) + of["eps"])
    return weight


def test_the_steps_are_the_equations() -> None:
    _, embedding = pair(padding=None)
    numbers = {"lr": 0.1, "beta1": 0.8, "beta2": 0.95, "eps": 1e-3, "decay": 0.2}
    optimizer = RowAdam(
        embedding.parameters(), 0.1, (0.8, 0.95), 1e-3, weight_decay=0.2, fused=True, decoupled_weight_decay=True
    )
    start, batches = embedding.weight.tolist(), []
    for ids in ([1, 4, 1], [4, 8, 8], [0, 1, 2], [5, 5, 5], [1, 8, 0]):  # rows 3, 6 and 7 are never read
        gradients = torch.randn(3, FEATURES, dtype=torch.float64)
        batches.append((ids, gradients.tolist()))
        optimizer.zero_grad()
        differentiate(embedding, torch.tensor(ids), gradients)
        optimizer.step()
    expected = torch.tensor(by_hand(start, batches, **numbers), dtype=torch.float64)
    torch.testing.assert_close(embedding.weight.detach(), expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("padding", [None, 0])
def test_with_every_row_in_every_batch_this_is_adam(padding: int | None) -> None:
    theirs, ours = pair(padding)
    dense = torch.optim.AdamW(theirs.parameters(), 0.1, weight_decay=0.1, fused=True)
    rows = RowAdam(ours.parameters(), 0.1, weight_decay=0.1, fused=True, decoupled_weight_decay=True)
    for _ in range(6):
        ids = torch.cat([torch.randperm(ROWS), torch.randint(ROWS, (5,))]).view(2, -1)
        weights = torch.randn(*ids.shape, FEATURES, dtype=torch.float64)
        for embedding, optimizer in ((theirs, dense), (ours, rows)):
            optimizer.zero_grad()
            differentiate(embedding, ids, weights)
            optimizer.step()
    torch.testing.assert_close(ours.weight, theirs.weight, rtol=0, atol=1e-14)


def test_without_decay_this_is_torchs_sparse_adam() -> None:
    _, ours = pair()
    theirs = nn.Embedding(ROWS, FEATURES, padding_idx=0, sparse=True).double()
    theirs.load_state_dict(ours.state_dict())
    # SparseAdam adds ε before the bias correction: with an ε of nearly nothing that makes no difference.
    optimizers = torch.optim.SparseAdam(theirs.parameters(), 0.1, eps=1e-30), RowAdam(ours.parameters(), 0.1, eps=1e-30)
    for _ in range(6):
        ids, weights = torch.randint(ROWS, (2, 3)), torch.randn(2, 3, FEATURES, dtype=torch.float64)
        for embedding, optimizer in zip((theirs, ours), optimizers, strict=True):
            optimizer.zero_grad()
            differentiate(embedding, ids, weights)
            optimizer.step()
    torch.testing.assert_close(ours.weight[1:], theirs.weight[1:], rtol=0, atol=1e-13)


def test_a_row_that_is_not_read_keeps_its_weights_and_moments() -> None:
    _, embedding = pair()
    optimizer = RowAdam(embedding.parameters(), 0.1, weight_decay=0.5, fused=True, decoupled_weight_decay=True)
    for ids in ([1, 2, 3], [2, 3, 3]):
        before = [embedding.weight.detach().clone(), *(v.clone() for v in optimizer.state[embedding.weight].values())]
        optimizer.zero_grad()
        differentiate(embedding, torch.tensor(ids), torch.ones(3, FEATURES, dtype=torch.float64))
        optimizer.step()
    after = [embedding.weight.detach(), *optimizer.state[embedding.weight].values()]
    rest = torch.tensor([0, 1, 4, 5, 6, 7, 8])
    for earlier, later in zip(before, after, strict=True):
        if later.dim():  # all but the number of steps
            assert torch.equal(earlier[rest], later[rest])
            assert not torch.equal(earlier[2:4], later[2:4])


def test_a_dense_gradient_takes_adams_step() -> None:
    ours, theirs = nn.Linear(4, 3), nn.Linear(4, 3)
    theirs.load_state_dict(ours.state_dict())
    for module, optimizer in (
        (ours, RowAdam(ours.parameters(), 0.1, fused=True)),
        (theirs, torch.optim.Adam(theirs.parameters(), 0.1, fused=True)),
    ):
        for k in range(3):
            optimizer.zero_grad()
            module(torch.full((2, 4), k + 1.0)).square().sum().backward()
            optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


@pytest.mark.parametrize("padding", [None, 0, 5])
@pytest.mark.parametrize("shape", [(4,), (2, 7), (1, 1), (0, 3)])
def test_an_embedding_by_rows_is_torchs(padding: int | None, shape: tuple[int, ...]) -> None:
    theirs, ours = pair(padding)
    ids, weights = torch.randint(ROWS, shape), torch.randn(*shape, FEATURES, dtype=torch.float64)
    assert torch.equal(ours(ids), theirs(ids))
    for embedding in (theirs, ours):
        differentiate(embedding, ids, weights)
    gradient = ours.weight.grad
    assert gradient is not None
    gradient = coalesced(gradient)
    assert gradient.indices()[0].tolist() == sorted(set(ids.flatten().tolist()))
    torch.testing.assert_close(gradient.to_dense(), theirs.weight.grad, rtol=0, atol=1e-14)


@pytest.mark.parametrize("algorithm", ["norm", "value"])
def test_clipping_is_that_of_the_dense_gradient(make_task: MakeTask, algorithm: str) -> None:
    gradients, norms = [], []
    for how in ("dense", "rows"):
        torch.manual_seed(0)
        task, data = make_task("the sea and the island " * 9, optimizer__embedding=how)
        for batch in list(data.train_dataloader())[:2]:  # the gradients of two batches, accumulated
            task.training_step(batch, 0)["loss"].backward()
        task.configure_gradient_clipping(task.configure_optimizers()["optimizer"], 0.01, algorithm)
        assert task.gradient["clipped"] == 1
        norms.append(float(task.gradient["gradient_norm"]))
        found = {name: parameter.grad for name, parameter in task.model.named_parameters()}
        assert found["embedding.weight"].is_sparse == (how == "rows")
        gradients.append({name: gradient.to_dense() for name, gradient in found.items()})
    assert norms[1] == pytest.approx(norms[0], rel=1e-5)
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-4, atol=1e-7)


def test_a_gradient_by_rows_that_is_not_finite_is_named() -> None:
    _, embedding = pair()
    differentiate(embedding, torch.tensor([1, 2]), torch.tensor([[1.0], [math.nan]], dtype=torch.float64))
    assert not_finite_gradients(nn.ModuleDict({"words": embedding}).named_parameters()) == "words.weight"


def test_a_model_without_an_embedding_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"optimizer\.embedding=dense"):
        embed_by_rows(nn.Linear(2, 2))
