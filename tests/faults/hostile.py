"""Checkpoints from someone who would like to run a program: their checksums are right, and their payloads stay data."""

from __future__ import annotations

import builtins
import hashlib
import io
import os
import pickle
import subprocess
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from tests.faults.outcome import Outcome
from unroll import checkpoint
from unroll.inference.load import load


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
            yield f"{name} in {place}", _torch(good | {place: {"inner": [payload]}})
        yield f"{name} alone", _torch(payload)
        yield f"{name}, torch's old format", _torch(good | {"config": payload}, zipped=False)
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            yield f"{name}, plain pickle {protocol}", pickle.dumps(payload, protocol=protocol)
        yield f"{name}, tar", _tar(pickle.dumps(payload))
        yield f"{name}, zip with code", _zip({"archive/data.pkl": pickle.dumps(payload), "archive/version": b"3\n"})


def _torch(content: Any, zipped: bool = True) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=zipped)
    return buffer.getvalue()


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


def hostile(folder: Path, good: dict[str, Any]) -> Outcome:
    """Load each, in every way; its payload must not have run, and what is refused is refused in one line."""
    outcome, target, path = Outcome("hostile pickles"), folder / "payload", folder / "hostile.ckpt"
    for what, content in files(target, good):
        path.write_bytes(content + b"\nsha256:" + hashlib.sha256(content).hexdigest().encode())
        for way in (checkpoint.load, load):
            with outcome.trial(what):
                way(path)
                outcome.lost.append(f"{what} was loaded")
        if target.exists():
            outcome.lost.append(f"{what} has run")
            target.unlink() if target.is_file() else target.rmdir()
    return outcome
