"""The data of a run, which several processes must read alike."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from typing import Any

from unroll import ranks, runtime
from unroll.config import Config, flat, to_dict
from unroll.config.fields import brief
from unroll.errors import DataError
from unroll.tasks.data import TaskData
from unroll.tasks.module import versions
from unroll.tasks.spec import load_data


def read_data(config: Config) -> TaskData:
    """Return the data, read first by one process of each machine, which keeps the tokens for the others.

    Raises:
        DataError: the data can't be used, or is another on another machine; so are the versions of what reads it.
    """
    first = ranks.local_rank() == 0
    early = ranks.together(lambda: load_data(config) if first else None)
    data: TaskData = ranks.together(lambda: load_data(config) if early is None else early)
    runtime.give_back_freed()  # splitting millions of rows takes as much memory as training on them
    if ranks.world_size() > 1:
        free = ("data.path", "data.folder", "threads")
        settings = {key: value for key, value in flat(to_dict(config)).items() if key not in free}
        found = {name: data.describe()[name] for name in ("fingerprint", "train", "val", "test")}
        machines = ranks.gathered((socket.gethostname(), settings | found | versions()))
        ranks.together(lambda: _check_same(machines))
    return data


def _check_same(machines: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
    """Compare what each process reported, by the name of its machine."""
    name, expected = machines[0]
    for other, found in machines[1:]:
        for key, value in expected.items():
            if found.get(key) != value:
                raise DataError(
                    f"{key} is {brief(value)} on {name} and {brief(found.get(key))} on {other}; give all machines the "
                    "same data, settings and versions"
                )
