"""The notebook, executed from its first cell to its last: what its text says is what it computes."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from matplotlib import pyplot

from tests.examples.conftest import EXAMPLES

TOUR = EXAMPLES / "tour.ipynb"


def execute() -> dict[str, Any]:
    """Run the notebook's cells in the current folder, and return all that they name. A kernel would import everything
    once more."""
    names: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("matplotlib.pyplot.show", lambda: pyplot.close("all"))
        for number, cell in enumerate(
            cell for cell in nbformat.read(TOUR, as_version=4).cells if cell.cell_type == "code"
        ):
            exec(compile(cell.source, f"{TOUR}, cell {number}", "exec"), names)
    return names


def test_what_the_tour_says_is_what_it_computes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    found, printed = execute(), capsys.readouterr().out
    # An encoder: padding is zero, and changes nothing.
    assert printed.count("[ 0.0000,  0.0000,  0.0000,  0.0000]") == 2
    assert "output at step 4: True" in printed
    assert found["difference"] < 1e-6
    # Gates: one unit lets the marked number in, and keeps it. The variance of the numbers is 1/12.
    assert found["loss"].item() < 0.01
    assert found["opened"] > 0.6
    assert found["shut"] < 0.2
    assert found["kept"] > 0.8
    # How far a gradient reaches.
    left = {name: (flow.inputs[-1] / flow.inputs[0]).item() for name, flow in found["flows"].items()}
    assert left["RNN"] < 1e-12
    assert left["LSTM"] > 1e6 * left["RNN"]
    # A classifier.
    assert found["summary"]["metrics"]["test/accuracy"] > 0.75
    assert [prediction.label for prediction in found["predictions"]][:2] == ["positive", "negative"]
    judgement = found["judgement"]
    assert judgement.prediction.label == "negative"
    moves = dict(zip(judgement.tokens, judgement.attribution, strict=True))
    assert moves["wonderful"] < 0 < min(moves[word] for word in ("dull", "boring", "waste"))
    # A language model: it comes close to the least bits that are possible, and writes sentences.
    assert found["least"] == pytest.approx(4000 * (2 * math.log2(5) + 2) / len("".join(found["sentences"])))
    assert 0.97 * found["least"] < found["bits"] < 1.15 * found["least"]
    noun = "(captain|engineer|sailor|island|ship)"
    sentences = found["writer"].generate("the ", length=2000, temperature=0.5, seed=2).split(". ")[:-1]
    right = [re.fullmatch(f"the {noun} (saw|found|left|reached) the {noun}", sentence) for sentence in sentences]
    assert len(sentences) > 60
    assert sum(map(bool, right)) > 0.8 * len(sentences)


def test_it_is_committed_with_its_outputs_and_without_paths_of_a_machine() -> None:
    cells = nbformat.read(TOUR, as_version=4).cells
    code = [cell for cell in cells if cell.cell_type == "code"]
    assert TOUR.stat().st_size < 400_000
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert all(cell.outputs for cell in code[1:])
    assert not re.search(r"/(home|work|tmp|usr|root)/|python -m unroll", TOUR.read_text())
