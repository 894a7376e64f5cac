"""Every table with tiny sizes: printed, as JSON, as Markdown, as a picture."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import benchmarks.busy
import benchmarks.encoders
import benchmarks.inference
import benchmarks.runs
import benchmarks.scaling
from benchmarks.baselines import BITS, PROGRAMS, _archive, baselines
from benchmarks.encoders import BACKENDS, CELLS, DIRECTIONS
from benchmarks.quality import time_to_quality
from benchmarks.request import STAND_IN, Request, read
from benchmarks.runs import training_process
from benchmarks.startup import _first_step
from benchmarks.training import BY_ROWS, CEILING, OURS, PLAIN, TEXTBOOK, products
from tests.benchmarks.conftest import TEXT, Benchmark, rows
from unroll.errors import DataError, UserError

SMALL = ("encoder.hidden_size=8", "model.embedding_size=8")


# It replaces scripts/train.py, and reports 90 tokens/s alone and 45 beside the busy process.
FAKE = """
import json, pathlib, sys, time
held = b"x" * 2**25
pathlib.Path("settings.json").write_text(json.dumps(sys.argv[1:]))
run_dir = pathlib.Path(sys.argv[-1].removeprefix("run_dir=").strip('"'))
(run_dir / "checkpoints").mkdir(parents=True)
(run_dir / "checkpoints" / "last.ckpt").touch()
speed = 45 if pathlib.Path("beside").exists() else 90
(run_dir / "summary.json").write_text(json.dumps({"train": {"tokens_per_second": speed}}))
time.sleep(0.1)  # so that its memory is seen
"""


@pytest.fixture
def fake_training(benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("train.py").write_text(FAKE)
    monkeypatch.setattr(benchmarks.runs, "TRAIN", Path("train.py"))


@pytest.mark.usefixtures("_loops_in_this_process")
def test_training_on_reviews(benchmark: Benchmark) -> None:
    found = rows(benchmark, "imdb", "--steps", "2", "data.path=reviews.csv")
    assert [row["way"] for row in found] == [TEXTBOOK, PLAIN, OURS, BY_ROWS, CEILING]
    assert all(row["per_second"] > 0 for row in found)
    assert found[0]["of_textbook"] == found[4]["of_ceiling"] == 1


def test_training_on_the_novel(benchmark: Benchmark) -> None:
    small = ["data.path=any.txt", "encoder.hidden_size=8", "data.batch_size=4"]
    found = rows(benchmark, "charlm", "--steps", "2", *small)
    assert [row["way"] for row in found] == [TEXTBOOK, PLAIN, OURS, CEILING, *products().values()]
    assert all(row["gigaflops"] > 0 for row in found)
    assert found[2]["float32"] == pytest.approx(found[2]["per_second"] / found[4]["per_second"], rel=0.01)


def test_encoders(benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmarks.encoders, "HIDDEN", (4, 8))
    found = rows(benchmark, "encoders", "--steps", "3", "data.path=reviews.csv")
    cases = {(row["cell"], row["directions"], row["hidden"], row["lengths"]) for row in found}
    assert len(cases) == len(found) == 2 * len(CELLS) * len(DIRECTIONS) * 2
    for row in found:
        assert row["auto"] in BACKENDS
        better = min(row[f"{backend}_ms"] for backend in BACKENDS)
        assert row["of_better"] == pytest.approx(row[f"{row['auto']}_ms"] / better)


@pytest.mark.usefixtures("_loops_in_this_process")
def test_inference(benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmarks.inference, "STREAMS", (1, 2, 4))
    monkeypatch.setattr(benchmarks.inference, "MANY", 4)
    found = rows(benchmark, "inference", "--steps", "2", "--novel", "any.txt", "data.path=reviews.csv")
    assert [row["unit"] for row in found] == ["texts/s"] * 14 + ["characters/s"] * 4
    assert [row["of_textbook"] for row in found].count(1.0) >= 3


def test_startup(benchmark: Benchmark, fake_training: None) -> None:
    measured = rows(benchmark, "startup", "--novel", "any.txt", "data.path=reviews.csv")
    found = {row["what"]: row["seconds"] for row in measured}
    assert found["import unroll"] < found["import torch"]
    assert [what for what in found if what.startswith("first")] == [
        "first line on screen",
        "first step, reviews, cold",
        "first step, reviews, warm",
        "first step, novel",
    ]
    assert all(seconds > 0 for seconds in found.values())


@pytest.mark.usefixtures("benchmark")
def test_a_real_run_saves_its_first_step() -> None:
    """If the run fails, `_first_step` raises."""
    assert _first_step(["task=imdb", "data.path=reviews.csv", *SMALL]) > 0


def test_scaling(benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmarks.scaling, "STEPS", 8)
    found = rows(benchmark, "scaling", "--steps", "256", "data.path=reviews.csv")
    assert [row["size"] for row in found if row["what"] == "steps a row, whole"] == [128, 256]
    assert all(row["growth"] > 0 and row["mib"] >= 0 for row in found)
    assert [row["size"] for row in found if row["what"] == "copies of the corpus"] == [1, 2, 4, 8, 16]


def test_scale(benchmark: Benchmark, fake_training: None) -> None:
    found = rows(benchmark, "scale", "--texts", "1", "2", "--reviews", "2000", "--steps", "3", "threads=1")
    assert [(row["data"], row["size"]) for row in found] == [("text, MB", 1), ("text, MB", 2), ("reviews", 2000)]
    for row in found:
        assert row["first_step"] > 0
        assert row["speed"] > 0
        assert min(row["cold"], row["warm"]) > 32
    config = read([setting for setting in json.loads(Path("settings.json").read_text()) if "run_dir" not in setting])
    assert (config.kind, config.trainer.max_steps, config.threads) == ("classification", 3, 1)


def test_overhead(benchmark: Benchmark) -> None:
    found = rows(benchmark, "overhead", "--steps", "3", "data.path=reviews.csv", "model.embedding_size=8")
    assert {row["part"] for row in found} == {"diagnostics", "saving", "loader"}
    assert all(0 < row["share"] < 1 for row in found)


def test_a_busy_machine(benchmark: Benchmark, fake_training: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ratios of known speeds. The busy process runs beside half of the runs, and ends with them."""
    busy_process, ended = benchmarks.busy._busy_process, []

    @contextmanager
    def watched() -> Iterator[None]:
        with busy_process() as process:
            Path("beside").touch()
            yield
            assert process.poll() is None
            Path("beside").unlink()
        ended.append(process.poll())

    monkeypatch.setattr(benchmarks.busy, "_busy_process", watched)
    monkeypatch.setattr(benchmarks.busy, "usable_cores", lambda: 2)
    found = rows(benchmark, "busy", "--steps", "3", "--novel", "any.txt", "data.path=reviews.csv")
    assert [row["task"] for row in found] == ["reviews", "novel"]
    for row in found:
        assert (row["alone"], row["beside"], row["ratio"]) == (90, 45, 0.5)
        assert row["of_fair"] == pytest.approx(0.75)
    assert ended == [-signal.SIGKILL] * 2
    config = read(json.loads(Path("settings.json").read_text()))
    assert config.task == "mysterious_island"
    assert config.trainer.max_steps == 3


def test_a_run_that_fails_ends_the_measurement_with_its_reason(tmp_path: Path) -> None:
    with (
        pytest.raises(UserError, match=r"^train\.py failed: data\.source=nowhere: must be one of"),
        training_process(["data.source=nowhere"], tmp_path / "run") as process,
    ):
        process.wait()


@pytest.mark.usefixtures("_loops_in_this_process")
def test_time_to_quality_on_reviews(benchmark: Benchmark) -> None:
    small = ["--steps", "3", "trainer.max_epochs=1", "trainer.limit_train_batches=4", *SMALL]
    check_quality(rows(benchmark, "time-to-quality", "data.path=reviews.csv", *small))


@pytest.mark.usefixtures("_loops_in_this_process", "benchmark")
def test_time_to_quality_on_the_novel() -> None:
    """As the command does it, but with few units for the textbook's model too."""
    textbook = read(["experiment=textbook_charlm", "data.path=any.txt", "data.batch_size=4", *SMALL])
    ours = read(["task=mysterious_island", "data.path=any.txt", *SMALL, "trainer.max_steps=8"])
    table = time_to_quality(textbook, ours, steps=3, rounds=1)
    assert table.name == "time-to-quality_charlm"
    check_quality(table.rows)


def check_quality(found: list[dict[str, Any]]) -> None:
    assert found[0]["sooner"] == 1
    assert found[0]["seconds"] > 0
    assert [row["figure"] > 0 for row in found] == [True] * 3


@pytest.mark.usefixtures("benchmark")
def test_baselines(monkeypatch: pytest.MonkeyPatch) -> None:
    """A zpaq that copies takes the bits that the text has."""
    Path("bin").mkdir()
    Path("bin/zpaq").write_text("#!/bin/sh\n/bin/cp text archive.zpaq\n")
    Path("bin/zpaq").chmod(0o755)
    monkeypatch.setenv("PATH", str(Path("bin").resolve()))
    reviews = read(["task=imdb", "data.path=reviews.csv", *SMALL])
    novel = read(["task=mysterious_island", "data.path=any.txt", "data.batch_size=4", *SMALL])
    table = baselines(reviews, novel, steps=2)
    found = {(row["figure"], row["model"]): row for row in table.rows}
    assert [figure for figure, _ in found] == ["accuracy"] * 3 + [BITS] * 7
    assert all(row["seconds"] > 0 for row in table.rows)
    zpaq = found[BITS, "zpaq -m5"]
    for split, part in (("val", TEXT[-1560:-780]), ("test", TEXT[-780:])):
        assert zpaq[split] == pytest.approx(8 * len(part.encode()) / len(part))
    assert zpaq["mib"] is None
    # The text repeats a line, so that everything is known to whoever counts.
    assert found[BITS, "n-grams, Kneser-Ney"]["test"] < 0.1 < found[BITS, "unroll's default"]["test"]
    assert found["accuracy", "n-grams, naive Bayes weights"]["test"] > 0.9


@pytest.mark.usefixtures("benchmark")
def test_a_compressor_that_fails_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PROGRAMS, "zpaq -m5", ["false"])
    with pytest.raises(UserError, match=r"^false ended with exit code 1; take it off PATH"):
        _archive(b"text", "zpaq -m5")


def test_film_reviews_replace_a_novel_that_cannot_be_downloaded(
    benchmark: Benchmark, fake_training: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def out_of_reach(source: str, path: Path | None, folder: Path, gutenberg: int) -> None:
        if not (folder / f"{gutenberg}-0.txt").exists():
            raise DataError("no network")

    monkeypatch.setattr("benchmarks.request.find_text", out_of_reach)
    rows(benchmark, "busy", "data.path=reviews.csv")
    assert json.loads(Path("kept/busy.json").read_text())["caption"].endswith("film reviews stand in for the novel")
    given = json.loads(Path("settings.json").read_text())
    assert read(given).data.source == "embedded"
    assert {*STAND_IN} < {*given}
    # A text that the settings name is not replaced. Nor is the novel if it has been downloaded before.
    request = Request(None, 1, "cpu", ["task=mysterious_island", "data.source=download"], Path("any.txt"))
    Path("data").mkdir()
    Path("data/1268-0.txt").write_text(TEXT)
    assert read(request.default()).data.source == "download"
    assert read(request.novel()).data.path == "any.txt"
    request.novel_file = None
    assert read(request.novel()).data.source == "auto"
    assert not request.stands_in


def test_a_table_on_the_screen(benchmark: Benchmark) -> None:
    done = benchmark("overhead", "--steps", "3", "data.path=reviews.csv", "model.embedding_size=8")
    assert done.code == 0, done.err
    assert "ms a call" in done.out
    assert "runs/benchmarks/overhead.png" in done.out


def test_what_cannot_be_measured_is_refused_in_one_line(benchmark: Benchmark) -> None:
    for table in ("imdb", "charlm"):
        done = benchmark(table, "task=mysterious_island", "data.path=any.txt")
        assert done.code == 2
        assert "task=mysterious_island: this table has a recipe of its own" in done.one_line()
    done = benchmark("imdb", "--device", "cuda", "data.path=reviews.csv")
    assert done.code == 2
    assert "leave --device out" in done.one_line()
