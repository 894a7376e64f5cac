"""The same models in other libraries, in turns with this package.

Keras 3 on JAX trains the textbook's models (Raschka, Liu & Mirjalili 2022, chapter 15) by `keras_models.py`, and fastai
an AWD-LSTM (Merity et al. 2018, arXiv:1708.02182) by `fastai_model.py`. They have an environment of their own. This
package trains by `ours.py`.
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
from typing import IO, Any, NamedTuple

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
ON_THE_CPU = {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
OURS = "unroll"

# What an AWD-LSTM of characters, with the dropouts of Merity et al. 2018 (arXiv:1803.08240) and fewer units, has beside
# the textbook's settings.
AWD_LSTM = (
    "encoder.num_layers=2",
    "encoder.hidden_size=512",
    "encoder.dropout=0.25",
    "encoder.locked_dropout=true",
    "encoder.weight_dropout=0.5",
    "model.embedding_size=512",
    "model.tie_weights=true",
    "model.input_dropout=0.1",
    "model.output_dropout=0.1",
    "model.activation_penalty=2",
    "model.temporal_penalty=1",
    "optimizer.learning_rate=0.002",
)

Turn = dict[str, float]  # the tokens, the seconds, how many of these JAX compiled, the validation figure


@dataclass(frozen=True)
class Peer:
    """Another library, and the program that trains its models."""

    name: str
    packages: tuple[str, ...]
    program: Path


KERAS = Peer("Keras 3 on JAX", ("keras", "jax"), Path(__file__).with_name("keras_models.py"))
FASTAI = Peer("fastai", ("fastai",), Path(__file__).with_name("fastai_model.py"))


class Comparison(NamedTuple):
    """A model that both libraries train."""

    model: str
    config: AnyConfig
    peer: Peer


def peers(comparisons: list[Comparison], environment: Path, steps: int | None, rounds: int) -> Table:
    """Train each model by both libraries, in turns of an epoch, and validate after each turn.

    Args:
        comparisons: the models, and who else trains them.
        environment: the folder of the environment with the other libraries.
        steps: batches of an epoch; None means all.
        rounds: turns of each.

    Returns:
        For each model a row for each library: tokens/s, the ratio to the other library's, the seconds of training until
        the validation figure is as good as both become, and the peak memory of the process. The seconds count whole
        turns, and JAX's compiling; tokens/s leave that out.

    Raises:
        UserError: the environment has none of these libraries, or training failed.
    """
    python, rows, origins, versions = interpreter(environment), [], [], []
    for model, config, peer in trained_in(environment, comparisons):
        trainer = dataclasses.replace(config.trainer, max_epochs=rounds, max_steps=-1, limit_train_batches=steps or 1.0)
        threads = config.threads or runtime.usable_cores()
        config = dataclasses.replace(config, trainer=trainer, threads=threads)
        data = load_data(config)
        with (
            tempfile.TemporaryDirectory() as folder,
            training(COMMAND, to_dict(config)) as ours,
            training([str(python), "-I", str(peer.program)], handed_over(config, data, Path(folder))) as other,
        ):
            trainees = {OURS: ours, peer.name: other}
            turns = in_turns(trainees, rounds)
            peaks = {name: peak_memory_of(trainee.process.pid) for name, trainee in trainees.items()}
        rows += compared(model, config, turns, peaks)
        origins.append(public_origin(data.source, data.origin))
        versions += [ours.version, other.version]
    columns = {
        "model": Column("model"),
        "way": Column("training"),
        "per_second": Column("tokens/s", "{:,.0f}"),
        "of_other": Column("of the other's", "{:.1f} ×"),
        "figure": Column("validation", "{:.3f}"),
        "seconds": Column("seconds until then", "{:,.0f}"),
        "compiling": Column("compiling", "{:,.0f}"),
        "mib": Column("peak, MiB", "{:,.0f}"),
    }
    texts, others = " and ".join(dict.fromkeys(origins)), "; ".join(dict.fromkeys(versions))
    caption = (
        f"{texts}, {'an epoch' if steps is None else f'{steps} batches'} a turn, medians of {rounds} rounds, cpu; "
        f"{others}; validation: the accuracy, or the bits per character, that both reach; the seconds until then are "
        "of training, in whole turns, and contain those of compiling, which tokens/s leave out"
    )
    return Table("peers", caption, columns, rows, 2, (Bars("tokens/s, training", {"per_second": "tokens/s"}),))


def in_turns(trainees: Mapping[str, Trainee], rounds: int) -> dict[str, list[Turn]]:
    """Let each train once in each round, and show the progress."""
    turns: dict[str, list[Turn]] = {name: [] for name in trainees}
    for _ in range(rounds):
        for name, trainee in trainees.items():
            turn = trainee.told("go")
            console().print(f"{name}: {turn['figure']:.3f} after {turn['seconds']:,.0f} s more")
            turns[name].append(turn)
    return turns


def compared(model: str, config: AnyConfig, turns: dict[str, list[Turn]], peaks: dict[str, int | None]) -> list[Row]:
    """Return the rows of a model, of the turns of two libraries and of their peaks in bytes."""
    better, worse = (min, max) if isinstance(config, LanguageModelingConfig) else (max, min)
    speeds = {
        name: [turn["tokens"] / (turn["seconds"] - turn.get("compiling", 0)) for turn in made]
        for name, made in turns.items()
    }
    target = worse(better(turn["figure"] for turn in made) for made in turns.values())
    rows: list[Row] = []
    for name, made in turns.items():
        reached = next(k for k, turn in enumerate(made, 1) if better(turn["figure"], target) == turn["figure"])
        row: Row = {
            "model": model,
            "way": name,
            "per_second": statistics.median(speeds[name]),
            "of_other": ratio(speeds, name, next(other for other in turns if other != name)),
            "figure": target,
            "seconds": sum(turn["seconds"] for turn in made[:reached]),
        }
        if any("compiling" in turn for turn in made):
            row["compiling"] = sum(turn["compiling"] for turn in made[:reached])
        peak = peaks[name]
        rows.append(row | {"mib": None if peak is None else peak / 2**20})
    return rows


def trained_in(environment: Path, comparisons: list[Comparison]) -> list[Comparison]:
    """Return the comparisons whose packages the environment has; the others are named on standard error.

    Raises:
        UserError: it has none of them; the message says what to type.
    """
    folder, python = shown(environment), interpreter(environment)
    peers = dict.fromkeys(comparison.peer for comparison in comparisons)
    found = {peer for peer in peers if has(python, peer.packages)}
    if not found:
        packages = " ".join(name for peer in peers for name in peer.packages)
        raise UserError(
            f"{folder}: no environment with other libraries; type: python -m venv {folder} && "
            f"{folder}/bin/pip install {packages}"
        )
    for model, _, peer in comparisons:
        if peer not in found:
            packages = " ".join(peer.packages)
            remedy = f"to have it, type: {folder}/bin/pip install {packages}"
            console().print(f"{folder} has no {packages}: {model} is left out; {remedy}")
    return [comparison for comparison in comparisons if comparison.peer in found]


def interpreter(environment: Path) -> Path:
    return environment / "bin" / "python"


def has(python: Path, packages: tuple[str, ...]) -> bool:
    finds = f"import importlib.util, sys; sys.exit(not all(map(importlib.util.find_spec, {packages})))"
    return python.exists() and not subprocess.run([python, "-I", "-c", finds], check=False).returncode


def console() -> Console:
    return Console(stderr=True, soft_wrap=True, highlight=False)


def handed_over(config: AnyConfig, data: Any, folder: Path) -> dict[str, Any]:
    """Write the arrays of training and validation to a folder, and return what the other library's program is told."""
    sections = to_dict(config)
    told = {
        "folder": str(folder),
        "threads": config.threads,
        "seed": config.seed,
        "steps": config.trainer.limit_train_batches if isinstance(config.trainer.limit_train_batches, int) else None,
        "vocabulary": len(data.vocabulary),
        "batch_size": config.data.batch_size,
    } | {name: sections[name] for name in ("model", "encoder", "optimizer")}
    if isinstance(config, ClassificationConfig):
        fields = ["ids", "starts", "lengths", "labels"]
        told["classes"] = len(data.labels)
    else:
        fields = ["ids"]
        told["window"] = config.tbptt.window
    for part in ("train", "val"):
        for field in fields:
            np.save(folder / f"{part}_{field}.npy", getattr(getattr(data, part), field))
    return told


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
