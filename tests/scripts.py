"""Scripts run inside the test process, which has paid for the imports already."""

from __future__ import annotations

import io
import runpy
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@dataclass
class Outcome:
    """How a command ended."""

    code: int
    out: str
    err: str

    def one_line(self) -> str:
        """The error, which is one line."""
        assert self.err.startswith("error: "), self.err
        assert self.err.count("\n") == 1, self.err
        return self.err.strip()


class Shell:
    """Runs `scripts/*.py` in a folder of its own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path) -> None:
        self.monkeypatch, self.capsys, self.folder = monkeypatch, capsys, folder
        monkeypatch.chdir(folder)

    def __call__(self, script: str, *arguments: str, stdin: bytes = b"") -> Outcome:
        self.capsys.readouterr()
        self.monkeypatch.setattr(sys, "argv", [f"scripts/{script}", *arguments])
        self.monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        with pytest.raises(SystemExit) as caught:
            runpy.run_path(str(ROOT / "scripts" / script), run_name="__main__")
        captured = self.capsys.readouterr()
        return Outcome(int(caught.value.code or 0), captured.out, captured.err)
