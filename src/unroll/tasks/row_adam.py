"""Training an embedding of which each batch reads a few rows: a gradient by rows, and an Adam that moves no others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.optim.adam import adam

from unroll.errors import ConfigError


class RowAdam(torch.optim.Adam):
    """Adam that moves only the rows of a weight that its sparse gradient has, as `torch.optim.SparseAdam` does.

    At step t (counted for the whole weight, from 1), for each row r of the gradient g and for no other:

        m_r ← β1 m_r + (1 - β1) g_r
        v_r ← β2 v_r + (1 - β2) g_r²
        w_r ← (1 - η λ) w_r - η (m_r / (1 - β1^t)) / (√(v_r / (1 - β2^t)) + ε)

    with the learning rate η and the decoupled weight decay λ (Kingma & Ba 2015, arXiv:1412.6980; Loshchilov & Hutter
    2019, arXiv:1711.05101). All other rows keep their w, m and v: they do not decay, and no momentum moves them. If
    every row is in every gradient, this is Adam. A weight with a dense gradient takes Adam's step.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take a step, after calling `closure`, which computes the gradients; return what it returns."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        sparse = [
            (parameter, coalesced(parameter.grad), group)
            for group in self.param_groups
            for parameter in group["params"]
            if parameter.grad is not None and parameter.grad.is_sparse
        ]
        for parameter, _, _ in sparse:
            parameter.grad = None  # which torch's Adam then leaves out
        super().step()
        for parameter, gradient, group in sparse:
            parameter.grad = gradient
            self._step_rows(parameter, gradient, group)
        return loss

    def _step_rows(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros((), device=parameter.device)
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        rows, whole = gradient.indices()[0], (parameter, state["exp_avg"], state["exp_avg_sq"])
        weight, mean, square = taken = [tensor.index_select(0, rows) for tensor in whole]
        adam(
            [weight],
            [gradient.values()],
            [mean],
            [square],
            [],
            [state["step"]],
            fused=True,
            amsgrad=False,
            maximize=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            eps=group["eps"],
            weight_decay=group["weight_decay"],
            decoupled_weight_decay=group["decoupled_weight_decay"],
        )
        for tensor, changed in zip(whole, taken, strict=True):
            tensor.index_copy_(0, rows, changed)


class RowEmbedding(nn.Embedding):
    """`torch.nn.Embedding` whose weight gets a sparse gradient: the rows that were read, in order, each once.

    `torch.nn.Embedding(sparse=True)` gives a row for each token instead, and what follows must add them up.
    """

    def forward(self, input: Tensor) -> Tensor:
        embedded: Tensor = _Lookup.apply(self.weight, input, self.padding_idx)  # type: ignore[no-untyped-call]  # torch has no types for it
        return embedded


class _Lookup(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, ids: Tensor, padding: int | None) -> Tensor:
        ctx.save_for_backward(ids)
        ctx.shape, ctx.padding = weight.shape, padding
        return F.embedding(ids, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (ids,) = ctx.saved_tensors
        ordered, places = ids.flatten().sort(stable=True)
        rows, counts = ordered.unique_consecutive(return_counts=True)
        sums = F.embedding_bag(places, gradients[0].flatten(0, -2), counts.cumsum(0) - counts, mode="sum")
        if ctx.padding is not None:
            sums.masked_fill_((rows == ctx.padding)[:, None], 0)
        gradient = torch.sparse_coo_tensor(rows[None], sums, ctx.shape, is_coalesced=True, check_invariants=False)
        return gradient, None, None


def embed_by_rows(model: nn.Module) -> None:
    """Replace each `torch.nn.Embedding` in a model by a `RowEmbedding` with the same weight.

    Raises:
        ConfigError: there is none.
    """
    found = [
        (module, name, part)
        for module in model.modules()
        for name, part in module.named_children()
        if type(part) is nn.Embedding
    ]
    if not found:
        raise ConfigError("optimizer.embedding=rows: this model has no embedding; write optimizer.embedding=dense")
    for module, name, part in found:
        size = (part.num_embeddings, part.embedding_dim, part.padding_idx)
        by_rows = RowEmbedding(*size, sparse=True, device="meta")  # so torch's DDP expects rows
        by_rows.weight = part.weight
        setattr(module, name, by_rows)


def coalesced(gradient: Tensor) -> Tensor:
    """Return a sparse gradient with its rows in order, each once: those that several batches have are added up. What
    is in order is not copied. A dense gradient is returned as it is."""
    if not gradient.is_sparse or gradient.is_coalesced():
        return gradient
    places = gradient._indices()
    if bool((places[0, 1:] > places[0, :-1]).all()):  # of one batch: torch forgets that it was coalesced
        return torch.sparse_coo_tensor(
            places, gradient._values(), gradient.shape, is_coalesced=True, check_invariants=False
        )
    return gradient.coalesce()


def entries(gradient: Tensor) -> Tensor:
    """Return the numbers that a gradient holds: all of a dense one, and (rows in it, features) of one by rows."""
    gradient = coalesced(gradient)
    return gradient.values() if gradient.is_sparse else gradient
