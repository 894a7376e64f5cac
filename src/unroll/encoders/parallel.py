"""A recurrent kernel over the rows of a batch, with a share of the rows on each core.

A step of a small recurrent net is a few microseconds of work. If every step is split over the cores, they spend most of
that time waiting for each other. Rows are independent of each other, so here each core reads its own rows from the
first step to the last, and the cores wait for each other once per sequence instead of once per step.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from threading import Barrier, Lock
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from unroll.runtime import threads_sleep_soon

# The least rows per share, and steps x rows x units in all. With less, handing over the work costs more than it gains.
MIN_ROWS, MIN_WORK = 4, 2**17

# (x, *states, *weights) -> (output, *states): x (time, rows, features), states (directions, rows, hidden)
Kernel = Callable[..., Sequence[Tensor]]


@dataclass(frozen=True)
class Padding:
    """What lies beyond the rows' ends."""

    mask: Tensor  # (time, rows) bool
    begins: int  # the first step at which some row has ended

    def blank(self, x: Tensor) -> None:
        """Write zero into the padding of `x` (time, rows, features)."""
        if self.begins < len(x):
            x[self.begins :].masked_fill_(self.mask[self.begins :, :, None], 0)

    def split(self, shares: int) -> list[Padding]:
        """Return the padding of each share of the rows."""
        return [Padding(mask, self.begins) for mask in self.mask.tensor_split(shares, dim=1)]


def over_rows(
    kernel: Kernel, x: Tensor, states: Sequence[Tensor], weights: Sequence[Tensor], padding: Padding
) -> tuple[Tensor, ...]:
    """Return `kernel(x, *states, *weights)` with an output of zero in the padding, computed on all of torch's threads:
    each takes a share of the rows.

    The kernel must treat rows independently and draw no random numbers. All arguments get gradients; the graph can be
    differentiated once.
    """
    threads = torch.get_num_threads()
    shares = min(threads, x.size(1) // MIN_ROWS)
    if x.size(0) * x.size(1) * states[0].size(-1) < MIN_WORK:
        shares = 1
    # OpenMP's threads must leave their cores to these workers. Measured: a step is 1.2 times as fast if they sleep at
    # once, and half as fast if they spin, which is their default.
    if shares < 2 or x.device.type != "cpu" or not threads_sleep_soon():
        output, *after = kernel(x, *states, *weights)
        if padding.begins < len(x):
            output = output.masked_fill(padding.mask[..., None], 0)
        return output, *after
    tensors = (x, *states, *weights)
    # Asked here: inside a Function gradients are always off.
    tracked = [torch.is_grad_enabled() and tensor.requires_grad for tensor in tensors]
    arguments = (kernel, padding, shares, 1 + len(states), tracked, *tensors)
    results: tuple[Tensor, ...] = _OverRows.apply(*arguments)  # type: ignore[no-untyped-call]  # torch has no types for it
    return results


class _OverRows(torch.autograd.Function):
    """Each share has its own graph, which a worker differentiates."""

    @staticmethod
    def forward(
        ctx: Any, kernel: Kernel, padding: Padding, shares: int, num_rowed: int, needed: list[bool], *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        # The first `num_rowed` tensors, x and the states, have rows, at dimension 1; the weights have none.
        ctx.padding, ctx.num_rowed, ctx.needed = padding, num_rowed, needed
        autocast, dtype = torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")

        joined = _Joined(tensors[0].size(1))

        def run(share: tuple[Tensor, ...], ends: Padding, first: int) -> tuple[list[Tensor], Sequence[Tensor]]:
            # Every thread has its own grad mode and autocast: set the caller's in this worker.
            with torch.set_grad_enabled(any(needed)), torch.autocast("cpu", dtype, autocast, cache_enabled=False):
                inputs = [t.detach().requires_grad_(n) for t, n in zip(share, needed, strict=True)]
                # Cast here, not by autocast: its cache of casts is shared by the threads and emptied when the first is
                # done. The order in which gradients are summed would then depend on chance.
                weights = [w.to(dtype) if autocast and w.dtype == torch.float32 else w for w in inputs[num_rowed:]]
                outputs = kernel(*inputs[:num_rowed], *weights)
            with torch.no_grad():
                ends.blank(joined.write(outputs[0], first))
            return inputs, outputs

        pool, work = _pool(os.getpid(), torch.get_num_threads()), _split(tensors, num_rowed, shares)
        firsts = accumulate((x.size(1) for x, *_ in work), initial=0)
        done = list(pool.map(run, work, padding.split(shares), firsts))
        if any(needed):
            ctx.graphs = done
        assert joined.tensor is not None
        states = zip(*(after for _, (_, *after) in done), strict=True)
        return joined.tensor, *(torch.cat(parts, dim=1).detach() for parts in states)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        needed = ctx.needed

        def differentiate(work: tuple[Any, Padding, tuple[Tensor, ...]]) -> list[Tensor]:
            (inputs, outputs), padding, (of_output, *of_states) = work
            wanted = [tensor for tensor, n in zip(inputs, needed, strict=True) if n]
            # The kernel would copy it anyway, to make it contiguous; the given gradient must not change.
            of_output = of_output.clone(memory_format=torch.contiguous_format)
            padding.blank(of_output)
            return list(torch.autograd.grad(outputs, wanted, [of_output, *of_states]))

        shares = len(ctx.graphs)
        work = zip(ctx.graphs, ctx.padding.split(shares), _split(gradients, len(gradients), shares), strict=True)
        parts = zip(*_pool(os.getpid(), torch.get_num_threads()).map(differentiate, work), strict=True)
        ctx.graphs = None
        results: list[Tensor | None] = []
        for place, need in enumerate(needed):
            if not need:
                results.append(None)
            elif place < ctx.num_rowed:
                results.append(torch.cat(next(parts), dim=1))
            else:
                results.append(torch.stack(next(parts)).sum(0))
        return None, None, None, None, None, *results


class _Joined:
    """A tensor (time, rows, features) that workers write into, each its share of the rows."""

    tensor: Tensor | None = None

    def __init__(self, rows: int) -> None:
        self.rows, self._lock = rows, Lock()

    def write(self, share: Tensor, first: int) -> Tensor:
        """Copy a share to the rows from `first` on, and return these rows."""
        with self._lock:
            if self.tensor is None:  # the first share tells the size and the precision
                self.tensor = share.new_empty(share.size(0), self.rows, share.size(2))
        return self.tensor[:, first : first + share.size(1)].copy_(share)


def _split(tensors: Sequence[Tensor], num_rowed: int, shares: int) -> list[tuple[Tensor, ...]]:
    """Cut the first `num_rowed` tensors into shares of their rows; every share gets all the others whole."""
    cut = [tensor.tensor_split(shares, dim=1) for tensor in tensors[:num_rowed]]
    return [(*rows, *tensors[num_rowed:]) for rows in zip(*cut, strict=True)]


@cache
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    """Start workers that compute on one core each. `process` is its id: a forked child has none of its parent's threads
    and starts its own."""
    started = Barrier(threads)

    def start() -> None:
        torch.set_num_threads(1)
        # A thread copies the process's number of threads when it first computes or asks for it. So it asks now, while
        # that is 1: workers with a team of threads each would take 2.5 times as long.
        torch.get_num_threads()
        started.wait()

    pool = ThreadPoolExecutor(threads, "rows", initializer=start)
    list(pool.map(lambda _: None, range(threads)))
    torch.set_num_threads(threads)  # the workers have set it to 1 for the whole process
    return pool
