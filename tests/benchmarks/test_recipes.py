"""Runs of recipes are summed up by hand-computed means and deviations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.recipes import recipes
from unroll.errors import UserError


def write(folder: Path, metrics: dict[str, float], **others: Any) -> None:
    train = {"seconds": 90.0, "peak_memory_mib": 1000.0}
    summary = {
        "status": "completed",
        "task": "own",
        "data": {"origin": "here"},
        "model": {"parameters": 1234},
        "train": train,
    }
    folder.mkdir(parents=True)
    (folder / "summary.json").write_text(json.dumps(summary | {"metrics": metrics} | others))


def test_a_row_for_each_recipe_and_each_mixture(tmp_path: Path) -> None:
    for seed, (val, test) in enumerate([(0.87, 0.90), (0.89, 0.92)]):
        folder = tmp_path / "words" / f"seed={seed}"
        write(folder, {"val/accuracy": val, "test/accuracy": test}, pretraining={"seconds": 60.0})
        for split in ("val", "test"):
            (folder / f"mixed_{split}.json").write_text(json.dumps({"accuracy": val, "mixed_accuracy": val + 0.01}))
    write(tmp_path / "text" / "0", {"val/accuracy": 0.6, "test/accuracy": 0.7, "val/bpc": 1.75, "test/bpc": 1.6})
    write(tmp_path / "text" / "1", {"val/bpc": 9.0, "test/bpc": 9.0}, status="interrupted")
    text, words, mixed = recipes(tmp_path).rows
    assert (text["recipe"], text["runs"], text["val"], text["test"]) == ("text", 1, "1.750 bits", "1.600 bits")
    assert (words["runs"], words["parameters"], words["minutes"], words["mib"]) == (2, 1234, 2.5, 1000)
    assert (words["val"], words["test"]) == ("88.0 ± 1.4 %", "91.0 ± 1.4 %")  # 1.4: the square root of 2
    assert (mixed["what"], mixed["val"], mixed["test"]) == ("with n-grams", "89.0 ± 1.4 %", "89.0 ± 1.4 %")


def test_what_cannot_be_summed_up_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no finished run"):
        recipes(tmp_path)
    write(tmp_path / "text" / "0", {"val/bpc": 1.75, "test/bpc": 1.6})
    write(tmp_path / "text" / "1", {"val/bpc": 1.75, "test/bpc": 1.6}, task="another")
    with pytest.raises(UserError, match="differ in task or data"):
        recipes(tmp_path)
    write(tmp_path / "text" / "1" / "2", {"val/bpc": 1.75})
    with pytest.raises(UserError, match="no figures of test"):
        recipes(tmp_path / "text")
