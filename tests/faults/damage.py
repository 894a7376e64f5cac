"""Files in which bits have flipped, or of which a part is missing, is twice there, or is something else."""

from __future__ import annotations

import csv
import json
import multiprocessing
import random
import shutil
from collections.abc import Callable
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from tests.faults.outcome import Outcome
from tests.scripts import ROOT
from unroll import checkpoint
from unroll.compose import compose
from unroll.corpora.files import TextFile, read_rows
from unroll.errors import CheckpointError
from unroll.export.write import export
from unroll.inference import folder as model_files
from unroll.inference.load import load
from unroll.text.tokenized import TokenizedCorpus, cached, tokenize


def damaged(content: bytes, chance: random.Random) -> bytes:
    """Return the bytes with one thing wrong."""
    place, kind = chance.randrange(len(content)), chance.randrange(5)
    if kind == 0:
        return content[:place]
    if kind == 1:
        return content[:place] + bytes([content[place] ^ 1 << chance.randrange(8)]) + content[place + 1 :]
    length = chance.randrange(1, 200)
    if kind == 2:
        other = chance.randbytes(length)
        return content[:place] + other + content[place + length :]
    if kind == 3:
        return content[:place] + content[place + length :] if place + length < len(content) else content[:-1]
    return content[:place] + content[place : place + length] + content[place:]


def checkpoints(folder: Path, count: int, good: Path, seed: int = 0) -> Outcome:
    """A damaged checkpoint is refused, and none other is taken for it."""
    outcome, chance = Outcome("damaged checkpoints"), random.Random(seed)
    content, path = good.read_bytes(), folder / "damaged.ckpt"
    for number in range(count):
        path.write_bytes(damaged(content, chance))
        with outcome.trial(f"checkpoint {number}"):
            checkpoint.load(path)
            outcome.lost.append(f"checkpoint {number} was loaded")
    return outcome


def fallbacks(folder: Path, count: int, run_dir: Path, seed: int = 0) -> Outcome:
    """Where `last.ckpt` is damaged, the one before it is found."""
    from rich.console import Console

    from unroll.progress import display
    from unroll.training.resume import find_start

    outcome, chance = Outcome("damaged last.ckpt, then resumed"), random.Random(seed)
    copy = folder / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(run_dir, copy)
    (copy / "summary.json").unlink(missing_ok=True)
    last = copy / "checkpoints" / "last.ckpt"
    content = last.read_bytes()
    shutil.copy(copy / "checkpoints" / "best.ckpt", copy / "checkpoints" / "previous.ckpt")
    for number in range(count):
        last.write_bytes(damaged(content, chance))
        screen = StringIO()
        outcome.tried += 1
        try:
            with display(Console(file=screen)):
                found = find_start(copy, {})
        except CheckpointError as error:
            outcome.lost.append(f"{number}: {error}")
            continue
        if found.path.name != "previous.ckpt" or "damaged" not in screen.getvalue():
            outcome.lost.append(f"{number}: {found.path} was taken")
    return outcome


def caches(folder: Path, count: int, seed: int = 0) -> Outcome:
    """A damaged cache of tokens is made anew."""
    outcome, chance, path = Outcome("damaged token caches"), random.Random(seed), folder / "tokens.bin"
    rows = [("a superb film", 1), ("dull and boring", 0)] * 20

    def build(file: BinaryIO) -> TokenizedCorpus:
        return tokenize(rows, "basic_english", file=file)

    corpus = cached(path, build)
    expected = corpus.fingerprint, corpus.tokens.tolist()  # its arrays are maps of the file that is damaged next
    content = path.read_bytes()
    for number in range(count):
        path.write_bytes(damaged(content, chance))
        with outcome.trial(f"cache {number}"), redirect_stderr(StringIO()):
            found = cached(path, build)
            if (found.fingerprint, found.tokens.tolist()) != expected:
                outcome.lost.append(f"cache {number} was believed")
    return outcome


def tables(folder: Path, count: int, suffix: str, seed: int = 0) -> Outcome:
    """A damaged table is refused in one line, or read: it has no checksum, and a letter may have become another."""
    outcome = Outcome(f"damaged {suffix} files")
    process = multiprocessing.get_context("fork")
    answers = process.SimpleQueue()
    child = process.Process(target=_read_damaged, args=(folder, count, suffix, seed, answers))
    child.start()
    found: Outcome = answers.get() if _waited(child, answers) else outcome
    child.join()
    if child.exitcode:  # Arrow has crashed
        found.lost.append(f"a reader's process ended with {child.exitcode}")
    return found


def exported(folder: Path, count: int, good: Path, seed: int = 0) -> Outcome:
    """A damaged file of an exported model is refused. Where a stranger has described the files anew, it may be read: a
    weight or a word is another one. Then the model predicts."""
    outcome, chance, place = Outcome("damaged exported models"), random.Random(seed), folder / "exported"
    shutil.rmtree(place, ignore_errors=True)
    export(good, place)
    intact = {path: path.read_bytes() for path in place.iterdir()}
    for number in range(count):
        name = chance.choice((model_files.CONFIG, model_files.VOCABULARY, model_files.WEIGHTS))
        (place / name).write_bytes(damaged(intact[place / name], chance))
        is_described = name == model_files.CONFIG or chance.random() < 0.5
        if name != model_files.CONFIG and is_described:
            describe_anew(place)
        with outcome.trial(f"exported model {number}, {name}"):
            model: Any = load(place)
            if not is_described:
                outcome.lost.append(f"exported model {number} was loaded, with a damaged {name}")
            model.predict(["a superb film", ""])
            outcome.note("read")
        for path, content in intact.items():
            path.write_bytes(content)
    return outcome


def describe_anew(folder: Path) -> None:
    """Write the checksums of an exported model's files as they are now."""
    about = json.loads((folder / model_files.CONFIG).read_text())
    about["sha256"] = {name: model_files.sha256((folder / name).read_bytes()) for name in about["sha256"]}
    (folder / model_files.CONFIG).write_text(json.dumps(about))


def settings(folder: Path, count: int, seed: int = 0) -> Outcome:
    """A damaged file of settings is refused in one line, or read: a digit may have become another."""
    outcome, chance = Outcome("damaged settings files"), random.Random(seed)
    shutil.copytree(ROOT / "conf", folder / "conf", dirs_exist_ok=True)
    files = sorted((folder / "conf").rglob("*.yaml"))
    for number in range(count):
        path = chance.choice(files)
        content = path.read_bytes()
        path.write_bytes(damaged(content, chance))
        with outcome.trial(f"settings {number}, {path.name}"):
            compose(["task=mysterious_island", "encoder=gru"], conf=folder / "conf")
            outcome.note("read")
        path.write_bytes(content)
    return outcome


def _waited(child: Any, answers: Any) -> bool:
    while answers.empty() and child.exitcode is None:
        child.join(0.1)
    return not answers.empty()


def _read_damaged(folder: Path, count: int, suffix: str, seed: int, answers: Any) -> None:
    outcome, chance = Outcome(f"damaged {suffix} files"), random.Random(seed)
    path = folder / f"table.{suffix}"
    _WRITERS[suffix](path)
    content = path.read_bytes()
    for number in range(count):
        path.write_bytes(damaged(content, chance))
        with outcome.trial(f"{suffix} {number}"):
            list(read_rows(TextFile((path,))))
            outcome.note("read")
    answers.put(outcome)


def _write_parquet(path: Path) -> None:
    texts = [f"review number {number}, superb" for number in range(200)]
    pq.write_table(pa.table({"text": texts, "label": [number % 2 for number in range(200)]}), path)


def _write_csv(path: Path) -> None:
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["text", "label"])
        rows.writerows([f'review "{number}", superb', number % 2] for number in range(200))


_WRITERS: dict[str, Callable[[Path], None]] = {"parquet": _write_parquet, "csv": _write_csv}
