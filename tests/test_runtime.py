"""How a process is set up: a thread for each usable core, and how idle threads wait."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from unroll import runtime
from unroll.runtime import has_room_for, threads_sleep_soon, usable_cores


@pytest.mark.parametrize(
    ("quota", "cores"), [("200000 100000\n", 2), ("150000 100000\n", 2), ("10000 100000\n", 1), ("max 100000\n", 8)]
)
def test_a_container_s_share_is_kept(quota: str, cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    monkeypatch.setattr(runtime, "_QUOTA", tmp_path / "cpu.max")
    assert usable_cores() == 8  # no such file
    (tmp_path / "cpu.max").write_text(quota)
    assert usable_cores() == cores


@pytest.mark.parametrize(("running", "room"), [("1/80", True), ("3/80", True), ("4/80", False), ("rubbish", True)])
def test_threads_have_room_where_cores_are_free(
    running: str, room: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four cores, and two threads of ours; this process is one of the running ones."""
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setattr(runtime, "_LOAD", tmp_path / "loadavg")
    assert has_room_for(2)  # no such file
    (tmp_path / "loadavg").write_text(f"0.50 0.50 0.50 {running} 1234\n")
    assert has_room_for(2) == room


@pytest.fixture
def light(tmp_path: Path) -> Path:
    """A folder with a torch that loads at once: what is set before torch is loaded does not depend on the real one."""
    (tmp_path / "torch.py").write_text("def get_num_threads(): return 1\ndef set_num_threads(number): pass\n")
    return tmp_path


def spin(folder: Path, call: str, before: str = "", **environment: str) -> str:
    """How long OpenMP's threads spin after a call of `configure`, in another process whose torch is in `folder`."""
    code = f"import os; from unroll import runtime; {before}\n{call}\nprint(os.environ.get('GOMP_SPINCOUNT'))"
    clean = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}
    clean["PYTHONPATH"] = str(folder)
    done = subprocess.run([sys.executable, "-c", code], env=clean | environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_threads_wait_as_the_task_and_the_machine_allow(light: Path) -> None:
    quiet, busy = ("runtime.has_room_for = lambda threads: " + answer for answer in ("True", "False"))
    assert spin(light, "runtime.configure()", quiet) == "1000"
    assert spin(light, "runtime.configure(full_windows=True)", quiet) == "None"
    assert spin(light, "runtime.configure(full_windows=True)", busy) == "0"
    assert spin(light, "runtime.configure()", GOMP_SPINCOUNT="7") == "7"
    assert spin(light, "import torch; runtime.configure()") == "None"  # too late: OpenMP would not read it


def test_rows_are_split_where_threads_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    for count, soon in (("0", True), ("1000", True), ("300000", False), ("", False)):
        monkeypatch.setenv("GOMP_SPINCOUNT", count)
        assert threads_sleep_soon() == soon
