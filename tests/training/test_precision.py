"""Training in bf16 is as good as in float32: the same recipe, three seeds, a difference within their spread."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import pytest

from tests.conftest import write_reviews
from tests.scripts import Shell

SEEDS = (0, 1, 2)


def figures(shell: Shell, precision: str, metric: str, *settings: str) -> list[float]:
    """The validation figure of each seed's run, whose summary says it."""
    found = []
    for seed in SEEDS:
        run_dir = f"{precision}_{seed}"
        done = shell(
            "train.py", *settings, f"seed={seed}", f"trainer.precision={precision}", f"run_dir={run_dir}", "threads=1"
        )
        assert done.code == 0, done.err
        summary = json.loads(Path(run_dir, "summary.json").read_text())
        assert summary["train"]["threads"] == 1
        assert summary["train"]["workers"] == 0
        found.append(summary["metrics"][metric])
    return found


@pytest.mark.parametrize("task", ["imdb", "mysterious_island"])
def test_bf16_is_as_good_as_float32(task: str, shell: Shell) -> None:
    if task == "imdb":
        metric = "val/loss"
        path = write_reviews(Path("reviews.csv"), 120)
        settings = ["model.embedding_size=8", "encoder.hidden_size=8", "trainer.max_epochs=1", "data.batch_size=16"]
    else:
        metric, path = "val/bpc", Path("any.txt")
        path.write_text("The island was silent. “Captain,” cried the sailor.\n" * 80)
        settings = ["encoder.hidden_size=24", "data.batch_size=8", "tbptt.window=20", "trainer.max_epochs=1"]
    settings += [f"task={task}", f"data.path={path}"]
    wide, narrow = (figures(shell, precision, metric, *settings) for precision in ("32-true", "bf16-mixed"))
    assert wide != narrow  # it was computed otherwise
    spread = max(max(each) - min(each) for each in (wide, narrow))
    assert abs(statistics.mean(wide) - statistics.mean(narrow)) <= spread
