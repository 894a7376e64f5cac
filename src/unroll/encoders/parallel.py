"""A recurrent kernel over the rows of a batch, a share of them on each core.

A step of a small recurrent net is a few microseconds of work. Kernels that split every step over the cores spend most
of that time waiting for each other; rows, however, have nothing to do with one another from the first step to the last.
So each core takes its own rows through the whole sequence, and the cores meet once a sequence instead of once a step.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from threading import Barrier
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from unroll.runtime import threads_sleep_soon

# With less, handing work over costs more than it gains: rows in a share, and steps x rows x units in all.
MIN_ROWS, MIN_WORK = 4, 2**17

# (x, *states, *weights) -> (output, *states): x (time, rows, features), states (directions, rows, hidden)
Kernel = Callable[..., Sequence[Tensor]]


@dataclass(frozen=True)
class Padding:
    """What lies beyond the rows' ends."""

    mask: Tensor  # (time, rows) bool
    begins: int  # the first step at which a row has ended

    def blank(self, x: Tensor) -> None:
        """Write zero into the padding of `x` (time, rows, features)."""
        if self.begins < len(x):
            x[self.begins :].masked_fill_(self.mask[self.begins :, :, None], 0)

    def split(self, shares: int) -> list[Padding]:
        """Return that of shares of the rows."""
        return [Padding(mask, self.begins) for mask in self.mask.tensor_split(shares, dim=1)]


def over_rows(
    kernel: Kernel, x: Tensor, states: Sequence[Tensor], weights: Sequence[Tensor], padding: Padding
) -> tuple[Tensor, ...]:
    """Return `kernel(x, *states, *weights)`, its output zero in the padding, computed in shares of the rows, one for
    each of torch's threads.

    The kernel must treat rows independently and draw no random numbers. Gradients flow to all arguments, once.
    """
    threads = torch.get_num_threads()
    shares = min(threads, x.size(1) // MIN_ROWS)
    if x.size(0) * x.size(1) * states[0].size(-1) < MIN_WORK:
        shares = 1
    # OpenMP's threads must leave their cores to the workers here: a step is 1.2 times as fast where they do so at once,
    # and half as fast where they spin as they do by default (measured).
    if shares < 2 or x.device.type != "cpu" or not threads_sleep_soon():
        output, *after = kernel(x, *states, *weights)
        if padding.begins < len(x):
            output = output.masked_fill(padding.mask[..., None], 0)
        return output, *after
    tensors = (x, *states, *weights)
    # Asked here, since a Function runs with gradients off and is not told why.
    tracked = [torch.is_grad_enabled() and tensor.requires_grad for tensor in tensors]
    results: tuple[Tensor, ...] = _OverRows.apply(kernel, padding, shares, 1 + len(states), tracked, *tensors)  # type: ignore[no-untyped-call]
    return results


class _OverRows(torch.autograd.Function):
    """Each share is a graph of its own, differentiated by the thread that takes it."""

    @staticmethod
    def forward(
        ctx: Any, kernel: Kernel, padding: Padding, shares: int, num_rowed: int, needed: list[bool], *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        # x and the states have rows, at dimension 1; weights have none.
        ctx.padding, ctx.num_rowed, ctx.needed = padding, num_rowed, needed
        autocast, dtype = torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")

        def run(share: tuple[Tensor, ...]) -> tuple[list[Tensor], Sequence[Tensor]]:
            # Grad mode and autocast are a thread's own: a worker has to be told of both.
            with torch.set_grad_enabled(any(needed)), torch.autocast("cpu", dtype, autocast, cache_enabled=False):
                inputs = [t.detach().requires_grad_(n) for t, n in zip(share, needed, strict=True)]
                # Autocast would keep one cast of a weight for all threads until the first of them is done: the other's
                # gradient would then be summed in another order, by chance.
                weights = [w.to(dtype) if autocast and w.dtype == torch.float32 else w for w in inputs[num_rowed:]]
                return inputs, kernel(*inputs[:num_rowed], *weights)

        done = list(_pool(os.getpid(), torch.get_num_threads()).map(run, _split(tensors, num_rowed, shares)))
        if any(needed):
            ctx.graphs = done
        joined = tuple(
            torch.cat(parts, dim=1).detach() for parts in zip(*(outputs for _, outputs in done), strict=True)
        )
        padding.blank(joined[0])
        return joined

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        needed = ctx.needed

        def differentiate(work: tuple[Any, Padding, tuple[Tensor, ...]]) -> list[Tensor]:
            (inputs, outputs), padding, (of_output, *of_states) = work
            wanted = [tensor for tensor, n in zip(inputs, needed, strict=True) if n]
            of_output = of_output.clone(memory_format=torch.contiguous_format)  # the kernel would; the given one stays
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


def _split(tensors: Sequence[Tensor], num_rowed: int, shares: int) -> list[tuple[Tensor, ...]]:
    """The first `num_rowed` tensors cut into shares of their rows, each with all the others."""
    cut = [tensor.tensor_split(shares, dim=1) for tensor in tensors[:num_rowed]]
    return [(*rows, *tensors[num_rowed:]) for rows in zip(*cut, strict=True)]


@cache
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    """Workers that compute on one core each. A forked process, which has no threads of its parent's, makes its own."""
    started = Barrier(threads)

    def start() -> None:
        torch.set_num_threads(1)
        # A thread takes the whole process's setting over when it first computes or asks; from then on it is its own. So
        # it asks now, while that is 1: each worker with a team of threads would take two and a half times as long.
        torch.get_num_threads()
        started.wait()

    pool = ThreadPoolExecutor(threads, "rows", initializer=start)
    list(pool.map(lambda _: None, range(threads)))
    torch.set_num_threads(threads)  # the process's, which the workers have lowered
    return pool
