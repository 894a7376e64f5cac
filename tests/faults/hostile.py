"""Checkpoints from a stranger, with right checksums: programs that must stay data, bombs, and damaged entries."""

from __future__ import annotations

import builtins
import hashlib
import io
import itertools
import os
import pickle
import resource
import subprocess
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from tests.faults.checkpoint_bombs import bombs, saved
from tests.faults.outcome import Outcome
from unroll import checkpoint
from unroll.errors import CheckpointError
from unroll.inference.load import load
from unroll.training.callbacks.throughput import peak_memory
from unroll.training.saved_state import check_state

ROOM, SECONDS, LONGEST = 2**29, 1.0, 700  # bytes, of the processor's time, characters of a message


class Reduce:
    """Unpickled, it calls `function(*arguments)`."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.function, self.arguments


def payloads(target: Path) -> Iterator[tuple[str, Any]]:
    """Yield ways to write a file."""
    write = f"open({str(target)!r}, 'w').write('x')"
    yield "open", Reduce(builtins.open, str(target), "w")
    yield "exec", Reduce(exec, write)
    yield "eval", Reduce(eval, write)
    yield "os.system", Reduce(os.system, f"touch {target}")
    yield "os.mkdir", Reduce(os.mkdir, str(target))
    yield "subprocess", Reduce(subprocess.call, ["touch", str(target)])
    yield "os.popen", Reduce(os.popen, f"touch {target}")
    yield "import", Reduce(__import__, "antigravity")
    yield "torch.save", Reduce(torch.save, {}, str(target))
    yield "torch.load", Reduce(torch.load, str(target))


def files(target: Path, good: dict[str, Any]) -> Iterator[tuple[str, bytes]]:
    """Yield each payload in several places of several formats."""
    for name, payload in payloads(target):
        for place in ("config", "vocabulary", "state_dict", "loops", "callbacks", "unknown"):
            yield f"{name} in {place}", saved(good | {place: {"inner": [payload]}})
        yield f"{name} alone", saved(payload)
        yield f"{name}, torch's old format", saved(good | {"config": payload}, zipped=False)
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            yield f"{name}, plain pickle {protocol}", pickle.dumps(payload, protocol=protocol)
        yield f"{name}, tar", _tar(pickle.dumps(payload))
        yield f"{name}, zip with code", _zip({"archive/data.pkl": pickle.dumps(payload), "archive/version": b"3\n"})


def _tar(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in ("pickle", "storages", "tensors"):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def _zip(entries: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def states(good: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield contents in which one entry that a run restores is missing or, in turns, something else."""
    others = itertools.cycle(["text", None, -1, [], {}, 2.5, torch.zeros(2)])
    yield "no version of Lightning", good | {"pytorch-lightning_version": "1.0"}
    parts = [("loops", "fit_loop"), ("callbacks",), ("optimizer_states",), ("lr_schedulers",), ("random",)]
    places = (keys for part in parts for keys in _places(_at(good, part), part))
    for number, keys in enumerate(places):
        if number % 3:
            yield f"{keys} is something else", _changed(good, keys, next(others))
        else:
            yield f"{keys} is missing", _changed(good, keys)


def _at(content: Any, keys: tuple[Any, ...]) -> Any:
    for key in keys:
        content = content[key]
    return content


def _places(value: Any, keys: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    """Yield the keys that lead to each entry inside, containers included; of a list, to the first."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    for key, part in itertools.islice(parts, 1 if isinstance(value, list) else None):
        if not isinstance(key, int) or key == 0:
            yield (*keys, key)
            yield from _places(part, (*keys, key))


def _changed(content: Any, keys: tuple[Any, ...], *other: Any) -> Any:
    """Return a copy in which the entry under `keys` is another, or is not there."""
    first, *rest = keys
    changed = list(content) if isinstance(content, list | tuple) else dict(content)
    if rest:
        changed[first] = _changed(content[first], tuple(rest), *other)
    elif other:
        changed[first] = other[0]
    else:
        del changed[first]
    return changed


@contextmanager
def little_memory() -> Iterator[None]:
    """Let nothing be allocated beyond `ROOM`."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + ROOM, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def hostile(folder: Path, good: dict[str, Any], every: int = 1) -> Outcome:
    """Load one of `every` checkpoints in every way: no payload runs, and each is refused soon, in one line."""
    outcome, target, path = Outcome("hostile checkpoints"), folder / "payload", folder / "hostile.ckpt"
    checkpoint.save(good, path)
    check_state(checkpoint.load(path), path)  # the good one is taken
    for what, content in itertools.islice(itertools.chain(files(target, good), bombs(good)), None, None, every):
        path.write_bytes(content + b"\nsha256:" + hashlib.sha256(content).hexdigest().encode())
        for way in (checkpoint.load, load):
            attempt(outcome, what, lambda way=way: way(path))
        if target.exists():
            outcome.lost.append(f"{what} has run")
            target.unlink() if target.is_file() else target.rmdir()
    for what, changed in itertools.islice(states(good), None, None, every):
        attempt(outcome, what, lambda changed=changed: check_state(changed, path))
    return outcome


def attempt(outcome: Outcome, what: str, load_it: Callable[[], Any]) -> None:
    """Load once, and note the most time and memory that it took so far."""
    began, memory = time.process_time(), peak_memory()
    with little_memory(), outcome.trial(what):
        try:
            load_it()
        except CheckpointError as error:
            if "not enough memory" in str(error) or len(str(error)) > LONGEST:
                outcome.lost.append(f"{what}: {error}")
            raise
        outcome.note("taken")
    seconds, grown = time.process_time() - began, peak_memory() - memory
    if seconds > SECONDS:
        outcome.lost.append(f"{what} took {seconds:.1f} s")
    outcome.peak = max(outcome.peak or 0, round(grown / 2**20))
