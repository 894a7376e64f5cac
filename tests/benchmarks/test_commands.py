"""Every table of the benchmark on tiny sizes: printed, as JSON, as a picture."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import write_reviews
from tests.scripts import Shell
from unroll.benchmarks.encoders import BACKENDS, CELLS, DIRECTIONS, HIDDEN
from unroll.benchmarks.training import CEILING, OURS, PLAIN, PRODUCTS, TEXTBOOK

TESTED = ("imdb", "charlm", "encoders", "inference", "startup", "scaling", "overhead", "time-to-quality")  # below

TEXT = "The island was silent. “Captain,” cried the sailor.\n" * 300


@pytest.fixture(autouse=True)
def _data(shell: Shell) -> None:
    write_reviews(Path("reviews.csv"), 200)
    Path("any.txt").write_text(TEXT)


def rows(shell: Shell, table: str, *arguments: str) -> list[dict[str, object]]:
    """Run a table and return what it prints as JSON; the files hold the same."""
    done = shell("benchmark.py", table, "--rounds", "1", "--json", "--out", "kept", *arguments)
    assert done.code == 0, done.err
    printed = [json.loads(line) for line in done.out.splitlines()]
    files = {path.suffix: path for path in Path("kept").iterdir()}
    assert json.loads(files[".json"].read_text())["rows"] == printed
    assert files[".png"].read_bytes().startswith(b"\x89PNG")
    return printed


def test_training_on_reviews(shell: Shell) -> None:
    found = rows(shell, "imdb", "--steps", "2", "data.path=reviews.csv")
    assert [row["way"] for row in found] == [TEXTBOOK, PLAIN, OURS, CEILING]
    assert all(row["per_second"] > 0 for row in found)
    assert found[0]["of_textbook"] == found[3]["of_ceiling"] == 1


def test_training_on_the_novel(shell: Shell) -> None:
    small = ["data.path=any.txt", "encoder.hidden_size=8", "data.batch_size=4"]
    found = rows(shell, "charlm", "--steps", "2", *small)
    assert [row["way"] for row in found] == [TEXTBOOK, PLAIN, OURS, CEILING, *PRODUCTS.values()]
    assert all(row["gigaflops"] > 0 for row in found)
    assert found[2]["float32"] == pytest.approx(found[2]["per_second"] / found[4]["per_second"], rel=0.01)


def test_encoders(shell: Shell) -> None:
    found = rows(shell, "encoders", "--steps", "3", "data.path=reviews.csv")
    cases = {(row["cell"], row["directions"], row["hidden"], row["lengths"]) for row in found}
    assert len(cases) == len(found) == 2 * len(CELLS) * len(DIRECTIONS) * len(HIDDEN)
    for row in found:
        assert row["auto"] in BACKENDS
        better = min(row[f"{backend}_ms"] for backend in BACKENDS)
        assert row["of_better"] == pytest.approx(row[f"{row['auto']}_ms"] / better)


def test_inference(shell: Shell) -> None:
    found = rows(shell, "inference", "--steps", "2", "--novel", "any.txt", "data.path=reviews.csv")
    assert [row["unit"] for row in found] == ["texts/s"] * 4 + ["characters/s"] * 4
    assert [row["of_textbook"] for row in found].count(1.0) >= 2


def test_startup(shell: Shell) -> None:
    found = {
        row["what"]: row["seconds"] for row in rows(shell, "startup", "--novel", "any.txt", "data.path=reviews.csv")
    }
    assert found["import unroll"] < found["import torch"] < found["first step, reviews, warm"]


def test_scaling(shell: Shell) -> None:
    found = rows(shell, "scaling", "--steps", "256", "data.path=reviews.csv")
    assert [row["size"] for row in found if row["what"] == "steps a row, whole"] == [128, 256]
    assert all(row["growth"] > 0 and row["mib"] >= 0 for row in found)
    assert [row["size"] for row in found if row["what"] == "copies of the corpus"] == [1, 2, 4, 8, 16]


def test_overhead(shell: Shell) -> None:
    found = rows(shell, "overhead", "--steps", "3", "data.path=reviews.csv", "model.embedding_size=8")
    assert {row["part"] for row in found} == {"diagnostics", "saving", "loader"}
    assert all(0 < row["share"] < 1 for row in found)


@pytest.mark.parametrize("settings", [["data.path=reviews.csv"], ["task=mysterious_island", "data.path=any.txt"]])
def test_time_to_quality(shell: Shell, settings: list[str]) -> None:
    small = ["--steps", "3", "trainer.max_epochs=1", "trainer.limit_train_batches=4"]
    found = rows(shell, "time-to-quality", *settings, *small, "encoder.hidden_size=8", "model.embedding_size=8")
    assert found[0]["sooner"] == 1
    assert found[0]["seconds"] > 0
    assert [row["figure"] > 0 for row in found] == [True] * 3


def test_a_table_on_the_screen(shell: Shell) -> None:
    done = shell("benchmark.py", "overhead", "--steps", "3", "data.path=reviews.csv", "model.embedding_size=8")
    assert done.code == 0, done.err
    assert "ms a call" in done.out
    assert "runs/benchmarks/overhead.png" in done.out


def test_what_can_not_be_measured_is_refused_in_one_line(shell: Shell) -> None:
    done = shell("benchmark.py", "imdb", "task=mysterious_island", "data.path=any.txt")
    assert done.code == 2
    assert "task=mysterious_island: this table has a recipe of its own" in done.one_line()
    done = shell("benchmark.py", "imdb", "--device", "cuda", "data.path=reviews.csv")
    assert done.code == 2
    assert "leave --device out" in done.one_line()
