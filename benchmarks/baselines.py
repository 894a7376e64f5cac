"""The default recipes beside what counts instead of learning: n-grams and compressors, on the same data."""

from __future__ import annotations

import bz2
import dataclasses
import lzma
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.memory import peak_memory
from benchmarks.request import AnyConfig
from benchmarks.table import Bars, Column, Row, Table
from unroll.config import ClassificationConfig, LanguageModelingConfig
from unroll.errors import UserError
from unroll.inference.load import load
from unroll.ngrams import kneser_ney
from unroll.ngrams.naive_bayes import NaiveBayesNGrams
from unroll.shown import public_origin
from unroll.tasks.classification_data import ClassificationData
from unroll.tasks.language_modeling_data import LanguageModelingData
from unroll.tasks.spec import load_data
from unroll.text.vocabulary import UNKNOWN_ID
from unroll.training.run import quiet
from unroll.training.start import train

LIBRARIES: dict[str, Callable[[bytes], bytes]] = {
    "bzip2": bz2.compress,
    "xz": partial(lzma.compress, preset=9 | lzma.PRESET_EXTREME),
}
# Programs that are used where they are installed. They make archive.* of the file `text`.
PROGRAMS = {
    "zpaq -m5": ["zpaq", "add", "archive.zpaq", "text", "-m5"],
    "PPMd, order 6": ["7z", "a", "-m0=PPMd:o=6:mem=256m", "archive.7z", "text"],
}

BITS = "bits per character"
Work = Callable[[], dict[str, Any]]  # -> the figures of the splits, and perhaps the peak memory of another process


def baselines(reviews: ClassificationConfig, novel: LanguageModelingConfig, steps: int | None) -> Table:
    """Train the default recipes, and measure them, their baselines, and the mixtures of both.

    Args:
        reviews: the settings of the reviews.
        novel: the settings of the novel.
        steps: optimiser steps of a recipe; None means all.

    Returns:
        A row for each model: the figures of validation and test, the seconds until they are known, and the peak memory.
        A compressor's bits are those by which a part lengthens the archive of all that stands before it in the text.
        Programs that are not installed have no row.
    """
    quiet()
    with tempfile.TemporaryDirectory() as folder:
        best = [Path(folder, name) for name in ("reviews", "novel")]
        review_data, novel_data = load_data(reviews), load_data(novel)
        ways = {
            ("accuracy", "unroll's default"): partial(_train, reviews, best[0], "accuracy", steps),
            ("accuracy", "n-grams, naive Bayes weights"): partial(_naive_bayes, review_data),
            ("accuracy", "both, --mix"): partial(_mixed, best[0], review_data, "mixed_accuracy"),
            (BITS, "unroll's default"): partial(_train, novel, best[1], "bpc", steps),
            (BITS, "n-grams, Kneser-Ney"): partial(_kneser_ney, novel_data),
            **{(BITS, name): partial(_archives, novel_data, name) for name in LIBRARIES | PROGRAMS},
            (BITS, "unroll's and Kneser-Ney, --mix"): partial(_mixed, best[1], novel_data, "mixed_bpc"),
            (BITS, "the same, --mix --dynamic"): partial(_mixed, best[1], novel_data, "dynamic_mixed_bpc"),
        }
        installed = {name for name, command in PROGRAMS.items() if shutil.which(command[0])}
        rows = [
            {"figure": figure, "model": name} | _measured(way)
            for (figure, name), way in ways.items()
            if name not in PROGRAMS or name in installed
        ]
    columns = {
        "figure": Column("figure"),
        "model": Column("model"),
        "val": Column("validation", "{:.3f}"),
        "test": Column("test", "{:.3f}"),
        "seconds": Column("seconds", "{:,.1f}"),
        "mib": Column("MiB", "{:,.0f}"),
    }
    rated, coded = (public_origin(data.source, data.origin) for data in (review_data, novel_data))
    caption = (
        f"accuracy on {rated}, {BITS} of {coded}; seconds of a model with its "
        "figures, not of reading the data; weights of mixtures are fitted on validation"
    )
    return Table("baselines", caption, columns, rows, 2, (Bars("seconds", {"seconds": "seconds"}),))


def _measured(work: Work) -> Row:
    """Return what the work returns, its seconds and its peak memory."""
    row: Row = {}

    def timed() -> None:
        started = time.perf_counter()
        row.update(work())
        row["seconds"] = time.perf_counter() - started

    peak = peak_memory(timed, torch.device("cpu"))
    return {"mib": None if peak is None else peak / 2**20} | row


def _train(config: AnyConfig, run_dir: Path, metric: str, steps: int | None) -> dict[str, Any]:
    if steps is not None:
        config = dataclasses.replace(config, trainer=dataclasses.replace(config.trainer, max_steps=steps))
    metrics = train(dataclasses.replace(config, run_dir=str(run_dir)))["metrics"]
    return {split: metrics[f"{split}/{metric}"] for split in ("val", "test")}


def _mixed(run_dir: Path, data: Any, metric: str) -> dict[str, Any]:
    best = run_dir / "checkpoints" / "best.ckpt"
    model, learns = load(best), [best] if metric.startswith("dynamic_") else []
    return {split: model.score_mixed(getattr(data, split), data, *learns)[metric] for split in ("val", "test")}


def _naive_bayes(data: ClassificationData) -> dict[str, Any]:
    model = NaiveBayesNGrams(data.train, len(data.labels))
    parts = {"val": data.val, "test": data.test}
    return {split: float((model.logits(part).argmax(1) == part.labels).mean()) for split, part in parts.items()}


def _kneser_ney(data: LanguageModelingData) -> dict[str, Any]:
    model = kneser_ney.fit(data.train.ids, data.val.ids, len(data.vocabulary))
    return {"val": model.bits(data.val.ids), "test": model.bits(data.test.ids)}


def _archives(data: LanguageModelingData, name: str) -> dict[str, Any]:
    """Return the bits per character that each part adds to the archive of what stands before it."""
    tokens = ["\N{REPLACEMENT CHARACTER}" if id_ == UNKNOWN_ID else t for id_, t in enumerate(data.vocabulary.tokens)]
    train, val, test = ("".join(tokens[id_] for id_ in part) for part in (data.train.ids, data.val.ids, data.test.ids))
    sizes = [_archive(text.encode(), name) for text in (train, train + val, train + val + test)]
    bits = {"val": 8 * (sizes[1] - sizes[0]) / len(val), "test": 8 * (sizes[2] - sizes[1]) / len(test)}
    return bits | ({} if name in LIBRARIES else {"mib": None})  # a program's memory is not measured


def _archive(text: bytes, name: str) -> int:
    """Return the archive's size in bytes.

    Raises:
        UserError: the program failed.
    """
    if name in LIBRARIES:
        return len(LIBRARIES[name](text))
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "text").write_bytes(text)
        command = PROGRAMS[name]
        code = subprocess.run(command, cwd=folder, capture_output=True, check=False).returncode
        if code:
            raise UserError(f"{command[0]} ended with exit code {code}; take it off PATH to leave it out")
        (archive,) = Path(folder).glob("archive.*")
        return archive.stat().st_size
