"""Data-parallel training: its speed by the number of processes, and how long a step waits for the other processes."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from benchmarks.request import AnyConfig
from benchmarks.table import Bars, Column, Row, Table
from benchmarks.turns import Way, take_turns
from unroll import ranks, runtime
from unroll.tasks.spec import load_data
from unroll.training import launch
from unroll.training.place import Place
from unroll.training.run import build_module

COUNTS = (2, 3, 4)
TENSORS = 50  # all-reduces to take the mean of


def processes(recipes: dict[str, AnyConfig], steps: int, rounds: int, counts: Sequence[int] = COUNTS) -> Table:
    """Measure one process on all cores, and several with a thread each; how long a step takes, and what of it is no
    work of its own.

    Args:
        recipes: settings by name.
        steps: of each run.
        rounds: turns to take the median of.
        counts: numbers of processes, beside one.

    Returns:
        A row for each recipe and number of processes. A step's work is what a process takes by itself for a batch of
        that size, on one thread, times the processes that share a core; the rest is waiting for the others.
    """
    cores = runtime.usable_cores()
    measured: list[Row] = []
    for name, config in recipes.items():
        rows, megabytes = _rows(config), _gradient_bytes(config) / 1e6
        ways: dict[str, Way] = {"all cores": partial(_seconds_a_step, config, 1, rows, cores, steps)}
        for count in counts:
            ways[f"{count} processes"] = partial(_seconds_a_step, config, count, rows, 1, steps)
            ways[f"a part of {count}"] = partial(_seconds_a_step, config, 1, rows // count, 1, steps)
        figures = take_turns(ways, rounds, warm_up=0)
        whole = figures["all cores"]
        first = {"recipe": name, "processes": 1, "threads": cores, "milliseconds": 1e3 * statistics.median(whole)}
        measured.append(first | {"speed": 1.0, "waiting": None, "megabytes": None, "all_reduce": None})
        for count in counts:
            step, part = figures[f"{count} processes"], figures[f"a part of {count}"]
            on_a_core = max(1.0, count / cores)
            measured.append(
                {
                    "recipe": name,
                    "processes": count,
                    "threads": 1,
                    "milliseconds": 1e3 * statistics.median(step),
                    "speed": statistics.median(x / y for x, y in zip(whole, step, strict=True)),
                    "waiting": 1e3 * statistics.median(x - on_a_core * y for x, y in zip(step, part, strict=True)),
                    "megabytes": megabytes,
                    "all_reduce": 1e3 * _all_reduce(count, int(megabytes * 1e6) // 4),
                }
            )
    columns = {
        "recipe": Column("recipe"),
        "processes": Column("processes", "{:,}"),
        "threads": Column("threads each", "{:,}"),
        "milliseconds": Column("a step, ms", "{:,.1f}"),
        "speed": Column("speed", "{:.2f} ×"),
        "waiting": Column("of it not computing, ms", "{:,.1f}"),
        "megabytes": Column("gradients, MB", "{:,.1f}"),
        "all_reduce": Column("their all-reduce alone, ms", "{:,.1f}"),
    }
    caption = f"Runs of {steps} steps on {cores} cores, gloo; medians of {rounds} rounds"
    bars = (Bars("milliseconds a step", {"milliseconds": "a step", "waiting": "not computing"}),)
    return Table("processes", caption, columns, measured, 2, bars)


def _rows(config: AnyConfig) -> int:
    assert config.data.batch_size is not None
    return config.data.batch_size


def _gradient_bytes(config: AnyConfig) -> int:
    model = build_module(config, load_data(config)).model
    return sum(weight.numel() * weight.element_size() for weight in model.parameters())


def _seconds_a_step(config: AnyConfig, count: int, rows: int, threads: int, steps: int, turn: int) -> float:
    """Train in `count` processes of their own, without validation."""
    settings: dict[str, Any] = {
        "data": {"batch_size": rows},
        "trainer": {"devices": count, "max_steps": steps, "limit_val_batches": 0, "limit_test_batches": 0},
        "diagnostics": {"every_n_steps": None},
        "checkpoint": {"every_n_minutes": None},
    }
    groups = {name: dataclasses.replace(getattr(config, name), **values) for name, values in settings.items()}
    with tempfile.TemporaryDirectory() as folder:
        changed: AnyConfig = dataclasses.replace(config, run_dir=folder, threads=threads, **groups)
        launch.run(count, Path(folder), changed, {})
        done = json.loads((Path(folder) / "summary.json").read_text(encoding="utf-8"))["train"]
    return float(done["seconds"] / done["steps"])


def _all_reduce(count: int, numbers: int) -> float:
    """Return the seconds of an all-reduce of float32 numbers among `count` processes."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = context.Pipe()
        started = []
        for rank in range(count):
            place = Place(rank, count, rank, count, f"file://{folder}/meeting")
            started.append(context.Process(target=_reduce, args=(place, numbers, theirs)))
            started[-1].start()
        seconds = float(ours.recv())
        for process in started:
            process.join()
    return seconds


def _reduce(place: Place, numbers: int, channel: Connection) -> None:
    torch.set_num_threads(1)
    ranks.begin(place.address, place.rank, place.world_size, place.local_rank, cuda=False)
    gradient = torch.ones(numbers)
    for _ in range(5):
        ranks.total(gradient)
    began = time.perf_counter()
    for _ in range(TENSORS):
        ranks.total(gradient)
    if place.rank == 0:
        channel.send((time.perf_counter() - began) / TENSORS)
    ranks.wait()
    ranks.end()
