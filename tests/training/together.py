"""Processes that train together, started once for many tests."""

from __future__ import annotations

import itertools
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.faults.kills import SERVER

_MEETINGS = itertools.count()


class Together:
    """Three processes, of which one, two or three train together."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._channels, self._processes = [], []
        for _ in range(3):
            ours, theirs = SERVER.Pipe()
            process = SERVER.Process(target=_serve, args=(theirs,), daemon=True)
            process.start()
            self._channels.append(ours)
            self._processes.append(process)

    def call(self, world_size: int, work: Callable[..., Any], *arguments: Any) -> list[Any]:
        """Return what `work(*arguments)` returns in each of the first `world_size` processes, by rank."""
        address = f"file://{self.folder}/meeting{next(_MEETINGS)}"
        for rank, channel in enumerate(self._channels[:world_size]):
            channel.send((rank, world_size, address, work, arguments))
        results = [channel.recv() for channel in self._channels[:world_size]]
        failed = [trace for _, trace in results if trace]
        assert not failed, "\n".join(failed)
        return [result for result, _ in results]

    def train(self, world_size: int, config: Any, folder: Path, changes: Mapping[str, Any] | None = None) -> None:
        """Train in a folder, which is made if it is not there."""
        folder.mkdir(parents=True, exist_ok=True)
        config.trainer.devices = world_size
        given = {"trainer.devices": world_size} if config.resume else {}
        self.call(world_size, train, folder, config, given | dict(changes or {}))

    def end(self) -> None:
        for channel, process in zip(self._channels, self._processes, strict=True):
            channel.close()
            process.kill()


@contextmanager
def together(folder: Path) -> Iterator[Together]:
    pool = Together(folder)
    yield pool
    pool.end()


def train(folder: Path, config: Any, changes: dict[str, Any]) -> None:
    from unroll.training.run import run_in

    run_in(folder, config, changes)


def _serve(channel: Any) -> None:
    import torch

    from unroll import ranks
    from unroll.training.place import Place

    torch.set_num_threads(1)
    while True:
        try:
            rank, world_size, address, work, arguments = channel.recv()
        except EOFError:
            return
        place = Place(rank, world_size, rank, world_size, address)
        place.announce()
        try:
            if world_size > 1:
                ranks.begin(address, rank, world_size, rank, cuda=False)
            channel.send((work(*arguments), ""))
        except BaseException:
            channel.send((None, f"rank {rank}: {traceback.format_exc()}"))
        finally:
            ranks.end()
