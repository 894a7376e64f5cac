"""The processes of a data-parallel run: starting them on this machine and ending them together, or taking the place
that torchrun or srun gave this one. The process that starts the others does not load torch.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType
from typing import Any

from unroll import progress, runtime
from unroll.commands import typed
from unroll.config import AUTO, Config
from unroll.errors import CheckpointError, ConfigError, Elsewhere, Interrupted, UserError
from unroll.tasks.spec import TASKS
from unroll.training.saved_run import settings_in, stopped_before_training

SECONDS_TO_END = 30  # for the other processes, after one has failed
SECONDS_OF_ONE = 1.0  # signals within this are one: some programs send theirs to a process, and to its group as well
_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


@dataclass(frozen=True)
class Place:
    """The place of a process among those that train together."""

    rank: int
    world_size: int
    local_rank: int  # among those of its machine
    local_size: int  # how many these are
    address: str = "env://"  # where they meet, for `torch.distributed`

    def announce(self) -> None:
        """Set the environment variables of torchrun, which Lightning reads."""
        node = self.rank // self.local_size
        numbers = {"RANK": self.rank, "WORLD_SIZE": self.world_size, "LOCAL_RANK": self.local_rank, "GROUP_RANK": node}
        os.environ.update({name: str(number) for name, number in numbers.items()})


def outer() -> Place | None:
    """Return the place that torchrun or srun gave this process; None where it was started by itself.

    Raises:
        ConfigError: the machines have different numbers of processes.
    """
    given = os.environ
    if "TORCHELASTIC_RUN_ID" in given:
        rank, world_size, local_rank, local_size = (
            int(given[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
        )
        place = Place(rank, world_size, local_rank, local_size)
    elif int(given.get("SLURM_STEP_NUM_TASKS", 1)) > 1:
        world_size, nodes = int(given["SLURM_STEP_NUM_TASKS"]), int(given.get("SLURM_STEP_NUM_NODES", 1))
        if world_size % nodes:
            raise ConfigError(f"srun runs {world_size} tasks on {nodes} machines; write --ntasks-per-node=N")
        place = Place(int(given["SLURM_PROCID"]), world_size, int(given["SLURM_LOCALID"]), world_size // nodes)
    else:
        return None
    return place if place.world_size > 1 else None


def processes(config: Config, changes: Mapping[str, Any]) -> int:
    """Return how many processes the settings ask for on this machine.

    Raises:
        ConfigError: a batch has too few rows for so many, or they ask for several machines.
    """
    own = config
    if config.resume not in (None, AUTO):
        with suppress(CheckpointError):  # the run itself will say it
            own = settings_in(Path(str(config.resume)))
    devices, nodes = (changes.get(f"trainer.{name}", getattr(own.trainer, name)) for name in ("devices", "num_nodes"))
    if nodes > 1:
        raise ConfigError(f"trainer.num_nodes={nodes}: start the command on every machine, by torchrun or srun")
    check(own, devices)
    return int(devices)


def check(config: Config, world_size: int) -> None:
    """Refuse batches with fewer rows than there are processes."""
    for name in ("batch_size", "unlabelled_batch_size"):
        rows = getattr(config.data, name, None)
        if rows is not None and rows < world_size:
            raise ConfigError(
                f"trainer.devices: {world_size} processes share each batch, and data.{name}={rows} is less; write "
                f"data.{name}={world_size} or more, or fewer devices"
            )


def at(place: Place, config: Config, changes: Mapping[str, Any]) -> tuple[Config, dict[str, Any]]:
    """Return the settings, and those that are given anew when a run is resumed, with the processes that torchrun or
    srun has started.

    Raises:
        ConfigError: the settings ask for another number, or a batch has too few rows.
    """
    trainer, nodes = config.trainer, place.world_size // place.local_size
    if trainer.devices * trainer.num_nodes not in (1, place.world_size):
        raise ConfigError(
            f"trainer.devices={trainer.devices} and trainer.num_nodes={trainer.num_nodes}, but {place.world_size} "
            "processes were started; leave both out"
        )
    check(config, place.world_size)
    values = {"trainer.devices": place.local_size, "trainer.num_nodes": nodes}
    trainer = dataclasses.replace(trainer, devices=place.local_size, num_nodes=nodes)
    return dataclasses.replace(config, trainer=trainer), {**changes, **values} if config.resume else dict(changes)


@contextmanager
def joined(place: Place, config: Config) -> Iterator[None]:
    """Train with the other processes in this block; torch is loaded by then.

    Raises:
        ConfigError: the machine has too few GPUs.
        UserError: the other processes did not come.
    """
    place.announce()
    if place.address == "env://" and "MASTER_ADDR" not in os.environ:  # srun says where it runs in a form of its own
        from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

        srun = SLURMEnvironment()
        os.environ.update(MASTER_ADDR=srun.main_address, MASTER_PORT=str(srun.main_port))
    import torch

    from unroll import ranks

    cuda = config.trainer.accelerator in ("auto", "cuda") and torch.cuda.is_available()
    if cuda and place.local_size > torch.cuda.device_count():
        raise ConfigError(
            f"trainer.devices={place.local_size}: this machine has {torch.cuda.device_count()} GPUs; write as many, or "
            "trainer.accelerator=cpu"
        )
    try:
        ranks.begin(place.address, place.rank, place.world_size, place.local_rank, cuda=cuda)
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"rank {place.rank} of {place.world_size} did not meet the others ({reason}); check the address and "
            "port of the first machine"
        ) from error
    yield
    ranks.end()  # not after an error: the others may be gone


def silence() -> None:
    """Let the first process alone speak. Its errors every process says itself."""
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - for as long as the process lasts
    warnings.simplefilter("ignore")


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
            said = _watch(started, channels)
    if any(process.exitcode for process in started):
        raise _reason(started, said, received, run_dir)


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


def _watch(started: Sequence[BaseProcess], channels: Sequence[Connection]) -> dict[int, tuple[int, str]]:
    """Wait until all processes have ended, and return what those that failed said, with their exit codes, by rank."""
    said: dict[int, tuple[int, str]] = {}
    ends = None
    while alive := [process.sentinel for process in started if process.is_alive()]:
        wait(alive, timeout=None if ends is None else 1.0)
        if ends is None and any(process.exitcode for process in started):
            ends = time.monotonic() + SECONDS_TO_END
        if ends is not None and time.monotonic() > ends:
            for process in started:
                process.kill()
    for rank, channel in enumerate(channels):
        with suppress(EOFError, OSError):
            if channel.poll():
                said[rank] = channel.recv()
    return said


def _reason(
    started: Sequence[BaseProcess], said: Mapping[int, tuple[int, str]], received: Sequence[int], run_dir: Path
) -> UserError:
    """Return the error that says why a run ended."""
    kept = run_dir / "checkpoints" / "last.ckpt"
    saved = kept.exists() or stopped_before_training(run_dir)
    then = f"resume it: {typed('train', f'resume={run_dir}')}" if saved else "nothing was saved"
    if said:
        code, message = said[min(said)]
        error = UserError(message)
        error.exit_code = code
        return error
    if received:
        return Interrupted(f"stopped by {signal.Signals(received[0]).name}; {then}", received[0])
    for rank, process in enumerate(started):
        if process.exitcode is not None and process.exitcode < 0:
            name = signal.Signals(-process.exitcode).name
            return UserError(f"rank {rank} of {len(started)} was ended by {name}, and the others with it; {then}")
    return UserError(f"a process of the run ended without a word; {then}")


def _work(
    place: Place, run_dir: Path, config: Config, changes: dict[str, Any], channel: Connection, is_shown: bool
) -> None:
    """What each process does, from its beginning to its end."""
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)  # Ctrl-C goes to the process that started this one, which passes it on
    for number in _SIGNALS[:2]:
        signal.signal(number, lambda number, frame: os._exit(128 + number))  # until training handles it
    threading.Thread(target=_end_with, args=(channel,), daemon=True).start()
    if place.rank:
        silence()
    code, message = 0, ""
    try:
        with _shown(is_shown and place.rank == 0):
            threads = config.threads or max(1, runtime.usable_cores() // place.local_size)
            runtime.configure(threads, full_windows=TASKS[config.kind].full_windows)
            with joined(place, config):
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
