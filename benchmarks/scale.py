"""Data beyond memory: how fast it is tokenised, how much memory that and training take, and how soon a run begins."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.memory import resident
from benchmarks.request import Settings
from benchmarks.runs import training_process
from benchmarks.table import Bars, Column, Row, Table
from unroll.runtime import usable_cores

KNOWN = 20_000  # words of the vocabulary of reviews, so that all models have one size
WORDS = 200_000  # that texts are made of, the n-th in proportion to n ** -1.2
SHORTEST, LONGEST = 5, 35  # words of a review
CLASSES = 5
AT_ONCE = 100_000  # reviews that are made at a time
BLOCK = 16  # MB of text, which is written again and again


class Measured(NamedTuple):
    """One run."""

    first_step: float  # seconds from the command until the first step is done and saved
    peak: int  # bytes, of the process and those that it started


def scale(texts: Sequence[int], reviews: Sequence[int], steps: int, settings: Settings) -> Table:
    """Train on made-up data of several sizes, each twice: the second run finds the tokens of the first.

    Args:
        texts: sizes of texts in MB, each for a language model of characters.
        reviews: numbers of short reviews in a parquet file, each for a classifier.
        steps: of each run; there is no validation.
        settings: further ones, of all runs.

    Returns:
        A row for each size. Tokenising is what the first run takes longer until its first step than the second.
    """
    rows: list[Row] = []
    for size in texts:
        rows.append({"data": "text, MB", "size": size} | _both("text.txt", size, steps, settings))
    for count in reviews:
        rows.append({"data": "reviews", "size": count} | _both("reviews.parquet", count, steps, settings))
    columns = {
        "data": Column("data"),
        "size": Column("size", "{:,}"),
        "tokenising": Column("tokenising, s", "{:,.1f}"),
        "speed": Column("MB/s", "{:,.1f}"),
        "cold": Column("peak, MiB", "{:,.0f}"),
        "warm": Column("peak, MiB, tokens there", "{:,.0f}"),
        "first_step": Column("first step, s, tokens there", "{:.1f}"),
    }
    caption = (
        f"{steps} steps of default recipes without validation, {usable_cores()} cores; memory is that of all processes "
        "of a run; texts are read by characters, reviews of 5 to 34 words by "
        f"words, {KNOWN:,} of them known"
    )
    bars = Bars("peak memory, MiB", {"cold": "tokenising too", "warm": "tokens there"}), Bars("MB/s", {"speed": "MB/s"})
    return Table("scale", caption, columns, rows, 2, bars)


def _both(name: str, size: int, steps: int, settings: Settings) -> Row:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        if path.suffix == ".txt":
            megabytes = write_text(path, size)
            recipe = ["task=language_modeling", "data.max_characters=1000", "data.val_fraction=0.001"]
            recipe.append("data.test_fraction=0.001")
        else:
            megabytes = write_reviews(path, size)
            recipe = ["task=classification", f"data.max_size={KNOWN}"]
        recipe += [f'data.path="{path}"', f'data.folder="{folder}/data"', f"trainer.max_steps={steps}", *settings]
        cold, warm = (_run(recipe, Path(folder, run)) for run in ("cold", "warm"))
    seconds = max(0.01, cold.first_step - warm.first_step)
    return {
        "tokenising": seconds,
        "speed": megabytes / seconds,
        "cold": cold.peak / 2**20,
        "warm": warm.peak / 2**20,
        "first_step": warm.first_step,
    }


def _run(settings: Settings, run_dir: Path) -> Measured:
    saved, first_step, peak = run_dir / "checkpoints" / "last.ckpt", 0.0, 0
    began = time.perf_counter()
    short = ["trainer.limit_val_batches=0", "trainer.limit_test_batches=0", "checkpoint.every_n_steps=1"]
    with training_process([*settings, *short], run_dir) as process:
        while process.poll() is None:
            peak = max(peak, resident(process.pid))
            if not first_step and saved.exists():
                first_step = time.perf_counter() - began
            time.sleep(0.02)
    return Measured(first_step or time.perf_counter() - began, peak)


def _words() -> Iterator[list[str]]:
    """Yield lists of words without end, each list as long as a review."""
    random = np.random.default_rng(0)
    names = np.array([f"w{number:x}" for number in range(WORDS)])
    while True:
        lengths = random.integers(SHORTEST, LONGEST, 1000)
        drawn = names[np.minimum(random.zipf(1.2, lengths.sum()) - 1, WORDS - 1)].tolist()
        for end, length in zip(np.cumsum(lengths).tolist(), lengths.tolist(), strict=True):
            yield drawn[end - length : end]


def write_text(path: Path, megabytes: int) -> float:
    """Write lines, and return the MB."""
    block = bytearray()
    for words in _words():
        block += " ".join(words).encode() + b"\n"
        if len(block) >= min(BLOCK, megabytes) * 10**6:
            break
    with path.open("wb") as file:
        while file.tell() < megabytes * 10**6:
            file.write(block)
        return file.tell() / 1e6


def write_reviews(path: Path, count: int) -> float:
    """Write a table, and return the MB of its texts."""
    words, random, size = _words(), np.random.default_rng(0), 0
    schema = pa.schema({"text": pa.string(), "label": pa.int64()})
    with pq.ParquetWriter(path, schema) as table:
        for start in range(0, count, AT_ONCE):
            texts = [" ".join(next(words)) for _ in range(min(AT_ONCE, count - start))]
            table.write_table(pa.table({"text": texts, "label": random.integers(CLASSES, size=len(texts))}, schema))
            size += sum(map(len, texts))
    return size / 1e6
