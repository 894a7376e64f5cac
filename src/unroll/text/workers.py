"""The chunks of a text, worked on by all cores."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import chain, islice
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Generic, TypeVar

from unroll import runtime
from unroll.errors import UserError

HERE = 4  # chunks that are worked on in this process: a small text is done before others have started

C = TypeVar("C")
R = TypeVar("R")


def in_order(work: Callable[[C], R], chunks: Iterable[C]) -> Iterator[R]:
    """Yield `work(chunk)` for each of the chunks, in their order. After the first few, processes of their own do the
    work, one a core; at most two chunks a process are under way.

    Args:
        work: a function of a module that does not import torch, or a `partial` of one. It and its results are pickled.
        chunks: they are read in this process.

    Raises:
        UserError: one of the processes has ended.
    """
    waiting = iter(chunks)
    yield from map(work, islice(waiting, HERE))
    count = runtime.usable_cores() if os.name == "posix" else 1
    if count == 1:
        yield from map(work, waiting)
        return
    for first in waiting:  # where any are left
        with _processes(work, count) as begin:
            under_way: deque[Future[R]] = deque()
            for chunk in chain([first], waiting):
                under_way.append(begin(chunk))
                if len(under_way) == 2 * count:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()


@contextmanager
def _processes(work: Callable[[C], R], count: int) -> Iterator[Callable[[C], Future[R]]]:
    """Start processes, and yield a function that gives one of them a chunk."""
    workers = [_Worker(work) for _ in range(count)]
    free: SimpleQueue[_Worker[C, R]] = SimpleQueue()
    for worker in workers:
        free.put(worker)

    def ask(chunk: C) -> R:
        worker = free.get()
        try:
            return worker.ask(chunk)
        finally:
            free.put(worker)

    with ThreadPoolExecutor(count) as threads:
        try:
            yield lambda chunk: threads.submit(ask, chunk)
        finally:
            for worker in workers:
                worker.process.kill()  # threads that wait for an answer then go on
            threads.shutdown(cancel_futures=True)
            for worker in workers:
                worker.process.wait()
                worker.channel.close()


class _Worker(Generic[C, R]):
    """A process that works on one chunk after another.

    It is not started by `multiprocessing`, which either forks, and this process has threads, or runs the main program
    again: that may import torch, or begin to train. Nor does Ctrl-C reach it: it ends with this process.
    """

    def __init__(self, work: Callable[[C], R]) -> None:
        self.channel, theirs = multiprocessing.Pipe()
        command = f"from unroll.text.workers import serve; serve({theirs.fileno()})"
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", command],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            process_group=0,
        )
        theirs.close()  # so that its end is seen here
        with suppress(OSError):  # the first question meets the same
            self.channel.send(work)

    def ask(self, chunk: C) -> R:
        try:
            self.channel.send(chunk)
            answer: R | Exception = self.channel.recv()
        except (EOFError, OSError) as error:
            code = self.process.wait()
            how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
            raise UserError(f"a process that cuts texts into tokens {how}; free some memory, and run again") from error
        if isinstance(answer, Exception):
            raise answer
        return answer


def serve(descriptor: int) -> None:
    """Work for the process at the other end of a connection until it closes it."""
    with suppress(EOFError, OSError), Connection(descriptor) as channel:
        work = channel.recv()
        while True:
            chunk = channel.recv()
            try:
                answer = work(chunk)
            except Exception as error:
                answer = error
            channel.send(answer)
