"""Texts, labels, names and paths with control characters: none of these reaches the terminal."""

from __future__ import annotations

import io
import random
import unicodedata
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any

from tests.faults.outcome import Outcome
from unroll import checkpoint
from unroll.cli import main

NASTY = "\x1b[31m\x1b]0;title\x07\x00\x08\x7f\x9b\u202e\u2066\u200f\ufeff\u2028\r\v\f\U000e0041"
STEERING = ("Cc", "Cf", "Cs", "Zl", "Zp")


def strangers(folder: Path, count: int, classifier: Path, language_model: Path, seed: int = 0) -> Outcome:
    """Give such characters to the commands wherever they take a text, `count` times, and look at what they print."""
    outcome, chance = Outcome("control characters"), random.Random(seed)
    good = checkpoint.load(classifier)
    for number in range(count):
        for arguments in _commands(folder, good, classifier, language_model, chance):
            outcome.tried += 1
            code, said = _said(arguments)
            raw = sorted({c for c in said if unicodedata.category(c) in STEERING and c not in "\n\t\u200c\u200d"})
            if raw:
                outcome.lost.append(f"{number}, {arguments[0]}: {raw!r} in {said[-200:]!r}")
            if "Traceback" in said or code not in (0, 1, 2):
                outcome.lost.append(f"{number}, {arguments[0]}: exit code {code}: {said[-200:]!r}")
            outcome.note(f"exit code {code}")
    return outcome


def _text(chance: random.Random) -> str:
    return "".join(chance.choice([*NASTY, "a", "superb", " ", "é"]) for _ in range(chance.randrange(1, 40)))


def _commands(
    folder: Path, good: dict[str, Any], classifier: Path, language_model: Path, chance: random.Random
) -> Iterator[list[str]]:
    nasty = _text(chance)
    name = nasty.replace("\0", "").replace("/", "") or "a"
    yield ["predict", str(classifier), nasty]
    yield ["predict", str(classifier), nasty, "--explain", str(folder / f"{name[:20]}.html")]
    yield ["predict", name]
    yield ["evaluate", str(classifier), "--data", name]
    yield ["evaluate", name]
    yield ["generate", str(language_model), "--prompt", nasty, "--length", "5"]
    yield ["train", f"data.path={name}"]
    yield ["train", f"'{name}'=1"]
    yield ["train", f"resume={name}"]
    yield [name]
    hostile = folder / "labels.ckpt"
    labels = [f"{_text(chance)}{number}" for number in range(len(good["labels"]))]
    origin = {**good["data"], "origin": _text(chance), "source": "local"}
    checkpoint.save({**good, "labels": labels, "data": origin}, hostile)
    yield ["predict", str(hostile), "superb"]
    yield ["evaluate", str(hostile)]
    table = folder / "labels.csv"
    rows = [f'"{_text(chance)}","{label}"' for label in labels for _ in range(15)]
    with suppress(UnicodeEncodeError):
        table.write_text("text,label\n" + "\n".join(row.replace("\0", "") for row in rows), newline="")
        yield ["evaluate", str(hostile), "--data", str(table)]
        yield ["train", f"data.path={table}", f"data.folder={folder}", "trainer.max_steps=0"]


def _said(arguments: list[str]) -> tuple[int, str]:
    out, error = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(error):
        try:
            code = main(arguments)
        except SystemExit as end:
            code = int(end.code or 0)
    return code, out.getvalue() + error.getvalue()
