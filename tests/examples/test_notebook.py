"""The notebook, executed from its first cell to its last: what its text says is what it computes."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests.examples.conftest import EXAMPLES

TOUR = EXAMPLES / "tour.ipynb"
RESULTS = """
import json

print(json.dumps({
    "difference": difference,
    "recall": loss.item(),
    "opened": opened,
    "shut": shut,
    "kept": kept,
    "left": {name: (flow.inputs[-1] / flow.inputs[0]).item() for name, flow in flows.items()},
    "accuracy": summary["metrics"]["test/accuracy"],
    "answers": [prediction.label for prediction in predictions],
    "explained": judgement.prediction.label,
    "moves": dict(zip(judgement.tokens, judgement.attribution)),
    "bits": bits,
    "least": least,
    "characters": len("".join(sentences)),
    "text": writer.generate("the ", length=2000, temperature=0.5, seed=2),
}))
"""


def execute(folder: Path) -> tuple[str, dict[str, Any]]:
    """Run the notebook in an empty folder. Return what it prints, and its results."""
    notebook = nbformat.read(TOUR, as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(RESULTS))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IPYTHONDIR", str(folder / "ipython"))
        patch.setenv("JUPYTER_RUNTIME_DIR", str(folder / "runtime"))
        NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}}).execute()
    texts = [
        "".join(output["text"] for output in cell.outputs if output["output_type"] == "stream")
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]
    return "".join(texts), json.loads(texts[-1])


def test_what_the_tour_says_is_what_it_computes(tmp_path: Path) -> None:
    printed, found = execute(tmp_path)
    # An encoder: padding is zero, and changes nothing.
    assert printed.count("[ 0.0000,  0.0000,  0.0000,  0.0000]") == 2
    assert "output at step 4: True" in printed
    assert found["difference"] < 1e-6
    # Gates: one unit lets the marked number in, and keeps it. The variance of the numbers is 1/12.
    assert found["recall"] < 0.01
    assert found["opened"] > 0.6
    assert found["shut"] < 0.2
    assert found["kept"] > 0.8
    # How far a gradient reaches.
    assert found["left"]["RNN"] < 1e-12
    assert found["left"]["LSTM"] > 1e6 * found["left"]["RNN"]
    # A classifier.
    assert found["accuracy"] > 0.75
    assert found["answers"][:2] == ["positive", "negative"]
    assert found["explained"] == "negative"
    assert found["moves"]["wonderful"] < 0 < min(found["moves"][word] for word in ("dull", "boring", "waste"))
    # A language model: it comes close to the least bits that are possible, and writes sentences.
    assert found["least"] == pytest.approx(4000 * (2 * math.log2(5) + 2) / found["characters"])
    assert 0.97 * found["least"] < found["bits"] < 1.15 * found["least"]
    noun = "(captain|engineer|sailor|island|ship)"
    sentences = found["text"].split(". ")[:-1]
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
