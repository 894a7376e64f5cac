"""Commands run inside the test process, which has paid for the imports already."""

from __future__ import annotations

import io
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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


def in_a_process(folder: Path, *arguments: str, stdout: str = os.devnull) -> Any:
    """Start `unroll COMMAND …` in a process of its own, a copy of one that has imported everything. It works in
    `folder`; what it says on stderr is in the file `stderr` there."""
    from tests.faults.kills import SERVER

    process = SERVER.Process(target=_command, args=(folder, arguments, stdout))
    process.start()
    return process


def _command(folder: Path, arguments: tuple[str, ...], stdout: str) -> None:
    os.chdir(folder)
    for number, name in ((1, stdout), (2, "stderr")):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT), number)
    code = main(list(arguments))
    sys.stderr.flush()
    os._exit(code)
