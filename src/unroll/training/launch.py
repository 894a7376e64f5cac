"""Starting the processes of a data-parallel run on this machine, and ending them together.

The process that starts the others does not load torch.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType
from typing import Any

from unroll import progress, runtime
from unroll.commands import resuming
from unroll.config import Config
from unroll.errors import Elsewhere, Interrupted, UserError
from unroll.tasks.spec import TASKS
from unroll.training.place import Place, joined, settings_of, silence
from unroll.training.saved_run import stopped_before_training

SECONDS_TO_END = 30  # for the other processes, after one has failed
SECONDS_OF_ONE = 1.0  # signals within this are one: some programs send theirs to a process, and to its group as well
_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


def run(count: int, run_dir: Path, config: Config, changes: Mapping[str, Any]) -> None:
    """Train in `count` processes of this machine, and wait for all of them.

    A signal goes to each of them; a second one ends them at once. If one fails, the others are ended.

    Raises:
        Interrupted: a signal stopped the run.
        UserError: a process failed; this is what it said.
    """
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="unroll-") as folder:
        started: list[BaseProcess] = []
        channels: list[Connection] = []
        for rank in range(count):
            place = Place(rank, count, rank, count, f"file://{folder}/meeting")
            ours, theirs = context.Pipe()
            arguments = (place, run_dir, config, dict(changes), theirs, progress.is_shown())
            process = context.Process(target=_work, args=arguments, name=f"rank {rank}")
            process.start()
            theirs.close()  # so that the end of one side is seen by the other
            started.append(process)
            channels.append(ours)
        with _forwarding(started) as received:
            said, outlasted = _watch(started, channels)
    codes = {rank: process.exitcode or 0 for rank, process in enumerate(started) if rank not in outlasted}
    if any(codes.values()):
        is_saved = (run_dir / "checkpoints" / "last.ckpt").exists() or stopped_before_training(run_dir)
        then = f"resume it: {resuming(run_dir)}" if is_saved else "nothing was saved"
        raise _reason(codes, said, received, then)


@contextmanager
def _forwarding(started: Sequence[BaseProcess]) -> Iterator[list[int]]:
    """Pass signals on in this block, and yield a list of those that came."""
    received: list[int] = []

    last = 0.0

    def forward(number: int, frame: FrameType | None) -> None:
        nonlocal last
        if received and time.monotonic() - last < SECONDS_OF_ONE:
            return
        last = time.monotonic()
        received.append(number)
        for process in started:
            if process.is_alive() and process.pid is not None:
                with suppress(ProcessLookupError):
                    os.kill(process.pid, number if len(received) == 1 else signal.SIGKILL)

    before = {}
    for number in _SIGNALS:
        with suppress(ValueError):  # only the main thread can
            if number == signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN:
                before[number] = signal.signal(number, forward)
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _watch(
    started: Sequence[BaseProcess], channels: Sequence[Connection]
) -> tuple[dict[int, tuple[int, str]], set[int]]:
    """Wait until all processes have ended, and end those that outlast a failed one for too long.

    Returns:
        said: what those that failed said, by rank, each with its exit code.
        outlasted: the ranks that were ended here.
    """
    ends, outlasted = None, set()
    while alive := [process for process in started if process.is_alive()]:
        wait([process.sentinel for process in alive], timeout=None if ends is None else 1.0)
        if ends is None and any(process.exitcode for process in started):
            ends = time.monotonic() + SECONDS_TO_END
        if ends is not None and time.monotonic() > ends:
            outlasted |= {rank for rank, process in enumerate(started) if process.is_alive()}
            for process in started:
                process.kill()
    said: dict[int, tuple[int, str]] = {}
    for rank, channel in enumerate(channels):
        with suppress(EOFError, OSError):
            if channel.poll():
                said[rank] = channel.recv()
    return said, outlasted


def _reason(
    codes: Mapping[int, int], said: Mapping[int, tuple[int, str]], received: Sequence[int], then: str
) -> UserError:
    """Return the error that says why a run ended.

    Args:
        codes: exit codes of the ranks that ended by themselves.
        said: see `_watch`.
        received: signals.
        then: what to do.
    """
    if received and not said:
        return Interrupted(f"stopped by {signal.Signals(received[0]).name}; {then}", received[0])
    for rank, code in codes.items():
        if code < 0 and not received:
            name = signal.Signals(-code).name
            return UserError(f"rank {rank} was ended by {name}, and the others with it; {then}")
    if said:
        code, message = said[min(said)]
        error = UserError(message)
        error.exit_code = code
        return error
    return UserError(
        f"a process of the run ended before it could say why; {then}. A program of your own calls unroll.train under "
        'if __name__ == "__main__":'
    )


def _work(
    place: Place, run_dir: Path, config: Config, changes: dict[str, Any], channel: Connection, is_shown: bool
) -> None:
    """What each process does, from its beginning to its end."""
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)  # Ctrl-C goes to the process that started this one, which passes it on
    for number in _SIGNALS[:2]:  # until training handles them: a handler in Python would wait for torch to return
        signal.signal(number, signal.SIG_DFL)
    threading.Thread(target=_end_with, args=(channel,), daemon=True).start()
    place.announce()
    if place.rank:
        silence()
    code, message = 0, ""
    try:
        with _shown(is_shown and place.rank == 0):
            threads = config.threads or max(1, runtime.usable_cores() // place.local_size)
            own = settings_of(config)
            runtime.configure(threads, full_windows=TASKS[own.kind].full_windows)
            with joined(place, own):
                from unroll.training.run import run_in

                run_in(run_dir, config, changes)
    except UserError as error:
        code, message = error.exit_code, "" if isinstance(error, Elsewhere) else str(error)
    except Exception as error:
        code = 1
        if not _is_lost(error):
            traceback.print_exc()
            message = f"rank {place.rank} failed ({type(error).__name__}: {str(error).partition(chr(10))[0]})"
    if message:
        with suppress(OSError):  # nobody is there
            channel.send((code, message))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # at once: others wait for a process that is gone, and would not notice one that ends slowly


def _is_lost(error: Exception) -> bool:
    from unroll import ranks

    return ranks.is_lost(error)


def _shown(shows: bool) -> Any:
    if not shows:
        return nullcontext()
    from rich.console import Console

    return progress.display(Console())


def _end_with(channel: Connection) -> None:
    """Stop this process in order when the one that started it is gone."""
    with suppress(OSError):
        channel.poll(None)  # nothing is ever sent this way: it returns when the other side is closed
    os.kill(os.getpid(), signal.SIGTERM)
