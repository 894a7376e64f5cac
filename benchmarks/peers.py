"""The textbook's models (Raschka, Liu & Mirjalili 2022, chapter 15) in another library, in turns with this package.

Keras 3 on JAX trains in an environment of its own, by `keras_models.py`; this package trains by `ours.py`.
"""

from __future__ import annotations

import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from rich.console import Console

from benchmarks.memory import peak_memory_of
from benchmarks.request import AnyConfig
from benchmarks.table import Bars, Column, Row, Table
from benchmarks.turns import ratio
from unroll import runtime
from unroll.config import ClassificationConfig, LanguageModelingConfig, to_dict
from unroll.errors import UserError
from unroll.shown import public_origin, shown
from unroll.tasks.spec import load_data

COMMAND = [sys.executable, "-m", "benchmarks.ours"]
PROGRAM = Path(__file__).with_name("keras_models.py")
PACKAGES = ("keras", "jax")
ON_THE_CPU = {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
OURS, KERAS = "unroll", "Keras 3 on JAX"

Turn = dict[str, float]  # the tokens, the seconds, how many of these JAX compiled, the validation figure


def peers(configs: list[AnyConfig], environment: Path, steps: int | None, rounds: int) -> Table:
    """Train the textbook's models by both libraries, in turns of an epoch, and validate after each turn.

    Args:
        configs: those of `experiment=textbook_imdb` and `experiment=textbook_charlm`.
        environment: the folder of the environment with Keras and JAX.
        steps: batches of an epoch; None means all.
        rounds: turns of each.

    Returns:
        For each task a row for each library: tokens/s, the ratio to Keras's, the seconds of training until the
        validation figure is as good as both become, and the peak memory of the process. The seconds count whole turns,
        and JAX's compiling; tokens/s leave that out.

    Raises:
        UserError: the environment or a package is missing, or training failed.
    """
    python = find_python(environment)
    rows, origins = [], []
    for config in configs:
        trainer = dataclasses.replace(config.trainer, max_epochs=rounds, max_steps=-1, limit_train_batches=steps or 1.0)
        threads = config.threads or runtime.usable_cores()
        config = dataclasses.replace(config, trainer=trainer, threads=threads)
        data = load_data(config)
        with (
            tempfile.TemporaryDirectory() as folder,
            training(COMMAND, to_dict(config)) as ours,
            training([str(python), "-I", str(PROGRAM)], handed_over(config, data, Path(folder))) as keras,
        ):
            trainees = {OURS: ours, KERAS: keras}
            turns = in_turns(trainees, rounds)
            peaks = {name: peak_memory_of(trainee.process.pid) for name, trainee in trainees.items()}
        rows += compared(config, turns, peaks)
        origins.append(public_origin(data.source, data.origin))
    columns = {
        "task": Column("task"),
        "way": Column("training"),
        "per_second": Column("tokens/s", "{:,.0f}"),
        "of_keras": Column("of Keras's", "{:.1f} ×"),
        "figure": Column("validation", "{:.3f}"),
        "seconds": Column("seconds until then", "{:,.0f}"),
        "compiling": Column("compiling", "{:,.0f}"),
        "mib": Column("peak, MiB", "{:,.0f}"),
    }
    caption = (
        f"{' and '.join(origins)}, the textbook's models, {'an epoch' if steps is None else f'{steps} batches'} a "
        f"turn, medians of {rounds} rounds, cpu; {ours.version}; {keras.version} in float32; validation: the accuracy, "
        "or the bits per character, that both reach; the seconds until then are of training, in whole turns, and "
        "contain those of compiling, which tokens/s leave out"
    )
    return Table("peers", caption, columns, rows, 2, (Bars("tokens/s, training", {"per_second": "tokens/s"}),))


def in_turns(trainees: Mapping[str, Trainee], rounds: int) -> dict[str, list[Turn]]:
    """Let each train once in each round, and show the progress."""
    console = Console(stderr=True, soft_wrap=True)
    turns: dict[str, list[Turn]] = {name: [] for name in trainees}
    for _ in range(rounds):
        for name, trainee in trainees.items():
            turn = trainee.told("go")
            console.print(f"{name}: {turn['figure']:.3f} after {turn['seconds']:,.0f} s more", highlight=False)
            turns[name].append(turn)
    return turns


def compared(config: AnyConfig, turns: dict[str, list[Turn]], peaks: dict[str, int | None]) -> list[Row]:
    """Return the rows of one task: those of its turns, and of the peaks in bytes."""
    is_novel = isinstance(config, LanguageModelingConfig)
    better, worse = (min, max) if is_novel else (max, min)
    speeds = {
        name: [turn["tokens"] / (turn["seconds"] - turn.get("compiling", 0)) for turn in made]
        for name, made in turns.items()
    }
    target = worse(better(turn["figure"] for turn in made) for made in turns.values())
    rows: list[Row] = []
    for name, made in turns.items():
        reached = next(k for k, turn in enumerate(made, 1) if better(turn["figure"], target) == turn["figure"])
        row: Row = {
            "task": "novel" if is_novel else "reviews",
            "way": name,
            "per_second": statistics.median(speeds[name]),
            "of_keras": ratio(speeds, name, KERAS),
            "figure": target,
            "seconds": sum(turn["seconds"] for turn in made[:reached]),
        }
        if any("compiling" in turn for turn in made):
            row["compiling"] = sum(turn["compiling"] for turn in made[:reached])
        peak = peaks[name]
        rows.append(row | {"mib": None if peak is None else peak / 2**20})
    return rows


def find_python(environment: Path) -> Path:
    """Return the interpreter of the environment with Keras and JAX.

    Raises:
        UserError: it or a package is missing; the message says what to type.
    """
    python = environment / "bin" / "python"
    finds = f"import importlib.util, sys; sys.exit(not all(map(importlib.util.find_spec, {PACKAGES})))"
    if not python.exists() or subprocess.run([python, "-I", "-c", finds], check=False).returncode:
        folder, packages = shown(environment), " ".join(PACKAGES)
        raise UserError(
            f"{folder}: no environment with {' and '.join(PACKAGES)}; type: python -m venv {folder} && "
            f"{folder}/bin/pip install {packages}"
        )
    return python


def handed_over(config: AnyConfig, data: Any, folder: Path) -> dict[str, Any]:
    """Write the arrays of training and validation to a folder, and return the settings of `keras_models.py`."""
    settings = {
        "folder": str(folder),
        "threads": config.threads,
        "seed": config.seed,
        "steps": config.trainer.limit_train_batches if isinstance(config.trainer.limit_train_batches, int) else None,
        "vocabulary": len(data.vocabulary),
        "batch_size": config.data.batch_size,
        "embedding_size": config.model.embedding_size,
        "hidden_size": config.encoder.hidden_size,
        "learning_rate": config.optimizer.learning_rate,
    }
    if isinstance(config, ClassificationConfig):
        fields = ["ids", "starts", "lengths", "labels"]
        settings |= {"head_size": config.model.head_size, "classes": len(data.labels)}
    else:
        fields = ["ids"]
        settings |= {"window": config.tbptt.window}
    for part in ("train", "val"):
        for field in fields:
            np.save(folder / f"{part}_{field}.npy", getattr(getattr(data, part), field))
    return settings


@dataclass
class Trainee:
    """A process that trains in turns, and answers each line with a line of JSON."""

    program: str
    process: subprocess.Popen[bytes]
    errors: IO[str]  # what it says on standard error
    version: str = ""

    def told(self, line: str) -> Any:
        """Give it a line, and return its answer.

        Raises:
            UserError: it ended instead; the message is the last line that it said.
        """
        assert self.process.stdin is not None and self.process.stdout is not None
        with suppress(BrokenPipeError):
            self.process.stdin.write(f"{line}\n".encode())
        answer = self.process.stdout.readline()
        if not answer:
            self.errors.seek(0)
            last = self.errors.read().strip().rpartition("\n")[2].removeprefix("error: ")
            raise UserError(f"{self.program} failed: {shown(last)}")
        return json.loads(answer)


@contextmanager
def training(command: list[str], settings: dict[str, Any]) -> Iterator[Trainee]:
    """Start a process, and wait until it is ready to train. It ends with the block, which closes its input; if the
    block fails, it ends at once.

    Raises:
        UserError: it ended instead, see `Trainee.told`.
    """
    pipe, environment = subprocess.PIPE, os.environ | ON_THE_CPU
    with (
        tempfile.TemporaryFile("w+") as errors,
        # Without a buffer: a line that could not be written would be written again when the pipe is closed.
        subprocess.Popen(command, bufsize=0, env=environment, stdin=pipe, stdout=pipe, stderr=errors) as process,
    ):
        trainee = Trainee(Path(command[-1]).name, process, errors)
        try:
            trainee.version = trainee.told(json.dumps(settings))
            yield trainee
        except BaseException:
            process.terminate()
            raise
