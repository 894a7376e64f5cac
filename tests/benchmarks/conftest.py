"""`python -m benchmarks` inside the test process, on little data."""

from __future__ import annotations

import json
import runpy
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import benchmarks.inference
import benchmarks.quality
import benchmarks.training
from benchmarks.loops import make_ways
from benchmarks.request import AnyConfig
from benchmarks.turns import PlainLoops
from tests.conftest import write_reviews
from tests.scripts import ROOT, Outcome

TEXT = "The island was silent. “Captain,” cried the sailor.\n" * 300

Benchmark = Callable[..., Outcome]


@pytest.fixture
def benchmark(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., Outcome]:
    """Run `python -m benchmarks` in a folder with reviews.csv and any.txt: `benchmark("imdb", "--steps", "2")`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{ROOT / 'src'}")  # for the processes that a table starts
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    write_reviews(Path("reviews.csv"), 200)
    Path("any.txt").write_text(TEXT)

    def run(*arguments: str) -> Outcome:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["benchmarks", *arguments])
        with pytest.raises(SystemExit) as caught:
            runpy.run_module("benchmarks", run_name="__main__")
        captured = capsys.readouterr()
        return Outcome(int(caught.value.code or 0), captured.out, captured.err)

    return run


def rows(benchmark: Benchmark, table: str, *arguments: str) -> list[dict[str, Any]]:
    """Run a table and return what it prints as JSON; the files hold the same."""
    done = benchmark(table, "--rounds", "1", "--json", "--out", "kept", *arguments)
    assert done.code == 0, done.err
    printed: list[dict[str, Any]] = [json.loads(line) for line in done.out.splitlines()]
    files = {path.suffix: path for path in Path("kept").iterdir()}
    assert json.loads(files[".json"].read_text())["rows"] == printed
    assert files[".md"].read_text().count("\n| ") == len(printed)
    assert files[".png"].read_bytes().startswith(b"\x89PNG")
    return printed


@pytest.fixture
def _loops_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a process of their own, which saves its imports; the test of `charlm` starts a real one."""

    @contextmanager
    def plain_loops(config: AnyConfig) -> Iterator[PlainLoops]:
        ways = make_ways(config)
        yield lambda way, steps, turn: ways[way](turn, steps)

    for module in (benchmarks.inference, benchmarks.quality, benchmarks.training):
        monkeypatch.setattr(module, "plain_loops", plain_loops)
