"""The table of processes, by processes that have imported everything already."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.processes import processes
from benchmarks.request import read
from tests.conftest import write_reviews
from tests.faults.kills import SERVER
from tests.training.together import together
from unroll.training import launch


def test_a_row_for_each_number_of_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = [f"data.path={write_reviews(tmp_path / 'reviews.csv', 100)}", f"data.folder={tmp_path}", "data.batch_size=8"]
    config = read(["task=imdb", *data, "encoder.hidden_size=8", "model.embedding_size=8", "trainer.accelerator=cpu"])
    runs: list[dict[str, Any]] = []
    with together(tmp_path) as pool:

        def run(count: int, run_dir: Path, config: Any, changes: dict[str, Any]) -> None:
            pool.train(count, config, run_dir)
            runs.append(json.loads((run_dir / "summary.json").read_text()))

        monkeypatch.setattr(launch, "run", run)
        monkeypatch.setattr("multiprocessing.get_context", lambda _: SERVER)
        table = processes({"reviews": config}, steps=2, rounds=1, counts=(2, 3))
    assert sorted(run["train"]["processes"] for run in runs) == [1, 1, 1, 2, 3]
    assert all(run["train"]["steps"] == 2 for run in runs)
    seconds = {run["train"]["processes"]: run["train"]["seconds"] / 2 for run in runs if run["train"]["processes"] > 1}
    one, two, three = table.rows
    assert (one["processes"], one["speed"], one["waiting"]) == (1, 1, None)
    for row, count in ((two, 2), (three, 3)):
        assert row["processes"] == count
        assert row["milliseconds"] == pytest.approx(1000 * seconds[count])
        assert row["speed"] == pytest.approx(one["milliseconds"] / row["milliseconds"])
        assert row["waiting"] < row["milliseconds"]
        assert row["megabytes"] == pytest.approx(4 * runs[0]["model"]["parameters"] / 1e6)
        assert row["all_reduce"] > 0
