"""The processes that train together: their numbers, and what they tell each other. A process by itself is rank 0 of 1.

Every function that says so waits for all ranks: each must call it, in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from unroll.errors import Elsewhere, UserError

T = TypeVar("T")

LONGEST_WAIT = timedelta(minutes=30)  # for another rank, in training
LONGEST_PREPARATION = timedelta(days=1)  # for the rank that fetches and tokenises the data


def rank() -> int:
    """Return this process's number among those that train together, from 0."""
    return dist.get_rank() if _together() else 0


def world_size() -> int:
    """Return how many processes train together."""
    return dist.get_world_size() if _together() else 1


def local_rank() -> int:
    """Return this process's number among those of its machine."""
    return _local_rank


def _together() -> bool:
    return dist.is_available() and dist.is_initialized()


def total(value: Tensor) -> Tensor:
    """Return the sum of a tensor over all ranks, without a gradient. Waits for all."""
    if world_size() == 1:
        return value.detach()
    summed = value.detach().clone()
    dist.all_reduce(summed)
    return summed


def summed(value: Tensor) -> Tensor:
    """Return the sum of a tensor over all ranks, with its gradient: what each rank's loss has of it. Waits for all, in
    the backward pass too."""
    found: Tensor = _Sum.apply(value) if world_size() > 1 else value  # type: ignore[no-untyped-call]  # torch has no types for it
    return found


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return total(value)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return total(gradient)


def share(own: Tensor | float) -> float:
    """Return the factor by which a mean over a weight `own` on this rank becomes its part of the mean over all ranks:
    the mean of all parts is that mean. Waits for all."""
    if world_size() == 1:
        return 1.0
    own = float(own)
    whole = float(total(torch.tensor(own, dtype=torch.float64)))
    return own * world_size() / whole if whole else 0.0


def mean(value: Tensor) -> Tensor:
    """Return the mean of a tensor over all ranks, without a gradient. Waits for all."""
    return total(value) / world_size() if world_size() > 1 else value.detach()


def largest(values: Sequence[int]) -> list[int]:
    """Return, of each number, the largest on any rank. Waits for all."""
    found = torch.tensor(values, dtype=torch.int64)
    if world_size() > 1:
        dist.all_reduce(found, dist.ReduceOp.MAX)
    return found.tolist()


def gathered(value: T) -> list[T]:
    """Return the plain values of all ranks, in their order. Waits for all."""
    if world_size() == 1:
        return [value]
    found: list[Any] = [None] * world_size()
    dist.all_gather_object(found, value)
    return found


def first(value: T) -> T:
    """Return rank 0's plain value. Waits for all."""
    if world_size() == 1:
        return value
    found = [value]
    dist.broadcast_object_list(found)
    return found[0]


def wait() -> None:
    """Wait for all ranks, a day at most: the first may be reading much data."""
    if world_size() > 1:
        dist.monitored_barrier(_waiting, timeout=LONGEST_PREPARATION)


def together(work: Callable[[], T]) -> T:
    """Do `work`, which may fail, on every rank, and return this one's result. Waits for all.

    Raises:
        UserError, OSError, MemoryError: as `work` raised it on this rank.
        Elsewhere: it raised on another rank, which says so.
    """
    global _all_know
    if world_size() == 1:
        return work()
    error: Exception | None = None
    try:
        result = work()
    except (UserError, OSError, MemoryError) as raised:
        error = raised
    wait()
    codes = gathered(None if error is None else getattr(error, "exit_code", 1))
    _all_know = any(code is not None for code in codes)
    if _all_know:
        source = next(number for number, code in enumerate(codes) if code is not None)
        if error is not None and source == rank():
            raise error
        raise Elsewhere(codes[source] or 1)
    return result


def all_know() -> bool:
    """Return whether all ranks know of the error that is on its way, from `together`: none waits for another."""
    return _all_know


def is_lost(error: BaseException) -> bool:
    """Return whether an error says that another rank is gone, or does not answer."""
    if not _together():
        return False
    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error).lower())


_local_rank = 0
_all_know = False
_waiting: Any = None  # the group in which ranks wait long: gloo's, whatever the gradients travel by


def begin(address: str, rank: int, world_size: int, local_rank: int, *, cuda: bool) -> None:
    """Join the other processes. Waits for all.

    Args:
        address: where they meet, as `torch.distributed.init_process_group` takes it.
        rank: of this process.
        world_size: how many they are.
        local_rank: of this process, among those of its machine.
        cuda: whether they train on GPUs.
    """
    global _waiting, _local_rank, _all_know
    _local_rank, _all_know = local_rank, False
    backend = "cpu:gloo,cuda:nccl" if cuda else "gloo"
    if cuda:
        torch.cuda.set_device(local_rank)
    store, rank, world_size = next(rendezvous(address, rank, world_size, timeout=LONGEST_WAIT))
    store.set_timeout(LONGEST_WAIT)
    # Torchrun's store outlives a job of a sweep, and what the last one left in it would lead this one astray.
    meeting = (store.add("arrivals", 1) - 1) // world_size
    store = PrefixStore(f"meeting {meeting}", store)
    dist.init_process_group(backend, store=store, rank=rank, world_size=world_size, timeout=LONGEST_WAIT)
    _waiting = dist.new_group(backend="gloo", timeout=LONGEST_PREPARATION)


def end() -> None:
    """Leave the other processes."""
    global _waiting, _local_rank
    _waiting, _local_rank = None, 0
    if _together():
        dist.destroy_process_group()
