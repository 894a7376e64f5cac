"""Commands run inside the test process, which has paid for the imports already."""

from __future__ import annotations

import io
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from unroll.cli import main

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
    """Runs `unroll COMMAND …`, or the script of that name, in a folder of its own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path) -> None:
        self.monkeypatch, self.capsys, self.folder = monkeypatch, capsys, folder
        monkeypatch.chdir(folder)

    def __call__(self, command: str, *arguments: str, stdin: bytes = b"") -> Outcome:
        self.capsys.readouterr()
        self.monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        try:
            code = main([command.removesuffix(".py"), *arguments])
        except SystemExit as end:  # argparse's way
            code = int(end.code or 0)
        captured = self.capsys.readouterr()
        return Outcome(code, captured.out, captured.err)
