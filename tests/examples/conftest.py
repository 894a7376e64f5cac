"""An example, loaded as a module and run in an empty folder."""

from __future__ import annotations

import importlib.util
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from tests.scripts import ROOT
from unroll.registry import ENCODERS
from unroll.tasks.spec import TASKS

EXAMPLES = ROOT / "examples"
Load = Callable[[str], ModuleType]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Load:
    """Load an example by name, in an empty folder. What it registers is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    for table in (ENCODERS, TASKS):
        monkeypatch.setattr(table, "_entries", dict(table._entries))

    def load(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        return module

    return load


def quick(module: ModuleType) -> list[str]:
    """Return the arguments that the module's docstring gives for a run of seconds."""
    command = f"python examples/{module.__name__}.py "
    lines = [line.strip() for line in (module.__doc__ or "").splitlines() if line.endswith("# seconds")]
    assert len(lines) == 1
    assert lines[0].startswith(command)
    return shlex.split(lines[0].removeprefix(command), comments=True)
