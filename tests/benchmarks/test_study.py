"""Runs are compared by the settings that tell them apart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.study import study
from unroll.errors import UserError


def write(folder: Path, figures: dict[str, float], config: dict[str, Any], status: str = "completed") -> None:
    folder.mkdir(parents=True)
    summary = {"status": status, "metrics": figures, "train": {"tokens": 1_500_000, "steps": 1000}}
    (folder / "summary.json").write_text(json.dumps(summary))
    (folder / "config.yaml").write_text(yaml.safe_dump(config | {"run_dir": str(folder)}))


def test_the_best_run_comes_first_with_what_it_changes(tmp_path: Path) -> None:
    folder = tmp_path / "dropout"
    for number, (dropout, rate, bits) in enumerate(
        [(0.1, 1.0, 1.8), (0.3, 1.0, 1.7), (0.1, 2.0, 1.9), (0.1, 1.0, 1.6)]
    ):
        config = {"model": {"dropout": dropout}, "optimizer": {"rate": rate, "name": "adam"}}
        write(
            folder / str(number),
            {"val/accuracy": 0.5, "val/bpc": bits, "val/loss": 9.0},
            config,
            "interrupted" if bits == 1.6 else "completed",
        )
    table = study(folder)
    assert table.name == "study_dropout"
    assert [row["settings"] for row in table.rows] == ["model.dropout=0.3", "as most runs", "optimizer.rate=2.0"]
    assert [row["figure"] for row in table.rows] == [1.7, 1.8, 1.9]
    assert table.columns["figure"].heading == "validation, bits per character"
    assert table.save(tmp_path).read_bytes().startswith(b"\x89PNG")


def test_of_accuracies_the_errors_are_compared(tmp_path: Path) -> None:
    for number, accuracy in enumerate((0.8, 0.9)):
        write(tmp_path / str(number), {"val/accuracy": accuracy, "val/loss": 1.0}, {"seed": number})
    assert [row["figure"] for row in study(tmp_path).rows] == pytest.approx([0.1, 0.2])


def test_what_cannot_be_compared_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="finished runs of one task"):
        study(tmp_path)
    write(tmp_path / "a", {"val/bpc": 1.0}, {})
    write(tmp_path / "b", {"val/accuracy": 1.0}, {})
    with pytest.raises(UserError, match="finished runs of one task"):
        study(tmp_path)
