"""The place of a process among those that train together: by itself, or as torchrun, srun or `launch` started it.

Nothing here loads torch before the process has been prepared.
"""

from __future__ import annotations

import dataclasses
import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unroll.config import AUTO, Config
from unroll.errors import CheckpointError, ConfigError, UserError
from unroll.training.saved_run import settings_in


@dataclass(frozen=True)
class Place:
    """The place of a process among those that train together."""

    rank: int
    world_size: int
    local_rank: int  # among those of its machine
    local_size: int  # how many these are
    address: str = "env://"  # where they meet, for `torch.distributed`

    def announce(self) -> None:
        """Set the environment variables of torchrun, which Lightning reads. Before torch is loaded, this also silences
        what it logs of connections and of weights without a gradient. What matters is raised."""
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")
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


def settings_of(config: Config) -> Config:
    """Return the settings that a run has: of one that is resumed its own, as far as they can be read."""
    if config.resume not in (None, AUTO):
        with suppress(CheckpointError):  # the run itself will say it
            own: Config = settings_in(Path(str(config.resume)))
            return own
    return config


def processes(config: Config, changes: Mapping[str, Any]) -> int:
    """Return how many processes the settings ask for on this machine.

    Raises:
        ConfigError: a batch has too few rows for so many, or they ask for several machines.
    """
    own = settings_of(config)
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
    check(settings_of(config), place.world_size)
    values = {"trainer.devices": place.local_size, "trainer.num_nodes": nodes}
    trainer = dataclasses.replace(trainer, devices=place.local_size, num_nodes=nodes)
    return dataclasses.replace(config, trainer=trainer), {**changes, **values} if config.resume else dict(changes)


@contextmanager
def joined(place: Place, config: Config) -> Iterator[None]:
    """Train with the other processes in this block; torch is loaded by then.

    Args:
        place: of this process.
        config: the settings that the run has, see `settings_of`.

    Raises:
        ConfigError: the machine has too few GPUs.
        UserError: the other processes did not come.
    """
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
    try:
        yield
    except Exception:
        if ranks.all_know():  # else others may be gone, or wait for this one
            ranks.end()
        raise
    ranks.end()


def silence() -> None:
    """Let the first process alone speak. Its errors every process says itself."""
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - for as long as the process lasts
    warnings.simplefilter("ignore")
