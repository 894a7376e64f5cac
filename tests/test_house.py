"""The rules of the house: nothing but the table of tasks asks which task it is, and an import changes nothing."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.scripts import ROOT
from unroll.tasks.spec import TASKS

SOURCE = ROOT / "src" / "unroll"
NAMES = {*TASKS, "imdb", "mysterious_island"}
KINDS = {
    "ClassificationConfig",
    "LanguageModelingConfig",
    "ClassificationData",
    "LanguageModelingData",
    "Classification",
    "LanguageModeling",
    "LoadedClassifier",
    "LoadedLanguageModel",
    "TextClassifier",
    "LanguageModel",
}


def questions(tree: ast.AST) -> Iterator[str]:
    """Yield each comparison with a task's name, and each isinstance with what belongs to one kind of task."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare | ast.Match):
            asked = {leaf.value for leaf in ast.walk(node) if isinstance(leaf, ast.Constant)} & NAMES
            if isinstance(node, ast.Compare) and asked:
                yield f"line {node.lineno}: compares with {asked}"
        if (
            isinstance(node, ast.match_case)
            and {leaf.value for leaf in ast.walk(node.pattern) if isinstance(leaf, ast.Constant)} & NAMES
        ):
            yield f"matches {ast.unparse(node.pattern)}"
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("isinstance", "issubclass"):
            asked = {getattr(leaf, "id", getattr(leaf, "attr", "")) for leaf in ast.walk(node.args[1])} & KINDS
            if asked:
                yield f"line {node.lineno}: isinstance of {asked}"


@pytest.mark.parametrize(
    "code", ['task == "imdb"', 'x in ("classification",)', "isinstance(c, config.LanguageModelingConfig)"]
)
def test_a_question_is_found(code: str) -> None:
    assert list(questions(ast.parse(code)))


def test_nothing_outside_of_tasks_asks_which_task_it_is() -> None:
    files = [*SOURCE.rglob("*.py"), *(ROOT / "scripts").glob("*.py")]
    asked = {
        str(path.relative_to(ROOT)): found
        for path in files
        if "tasks" not in path.relative_to(ROOT).parts and (found := list(questions(ast.parse(path.read_text()))))
    }
    assert len(files) > 60
    assert asked == {}


def test_importing_any_room_changes_nothing_in_the_process() -> None:
    """Environment, signals and the number of threads are after all imports as torch and Lightning leave them."""
    modules = [
        ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts).removesuffix(".__init__")
        for path in SOURCE.rglob("*.py")
    ]
    code = (
        "import gc, os, sys, signal, threading; gc.disable()\n"
        "import torch, lightning.pytorch, torchmetrics, matplotlib.figure, hydra\n"
        "def state(): return (dict(os.environ), [signal.getsignal(n) for n in range(1, 32)], torch.get_num_threads(),\n"
        "    torch.initial_seed(), threading.active_count(), threading.excepthook)\n"
        "before = state()\n"
        f"for name in {modules!r}: __import__(name)\n"
        "assert state() == before, [pair for pair in zip(before, state()) if pair[0] != pair[1]]\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


UNIX = {"fcntl", "grp", "pty", "pwd", "resource", "termios"}


def test_nothing_that_only_unix_has_is_imported_with_a_module() -> None:
    for path in SOURCE.rglob("*.py"):
        for node in ast.parse(path.read_text()).body:
            names = {alias.name for alias in node.names} if isinstance(node, ast.Import) else set()
            names |= {node.module or ""} if isinstance(node, ast.ImportFrom) else set()
            assert not names & UNIX, path
