"""A run's folder belongs to one process at a time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from unroll.config import Config
from unroll.errors import CheckpointError, ConfigError
from unroll.training.run_dir import claimed

HOLD = """
import sys, time
from unroll.config import Config
from unroll.training.run_dir import claimed
with claimed(Config(run_dir=sys.argv[1])) as folder:
    (folder / "file").write_text("")
    print("claimed", flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_second_process_is_refused_until_the_first_ends_however_it_ends() -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, "run"], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "claimed\n"
        for config in (Config(run_dir="run"), Config(resume="run")):
            with pytest.raises(ConfigError, match="run: another process trains in this folder"), claimed(config):
                pass
        other.kill()
        other.wait()
    with claimed(Config(resume="run")) as folder:
        assert folder == Path("run")
    with pytest.raises(ConfigError, match="something is there already"), claimed(Config(run_dir="run")):
        pass


def test_runs_of_one_second_have_folders_of_their_own() -> None:
    with claimed(Config(task="imdb")) as one, claimed(Config(task="imdb")) as other:
        assert one != other
        assert one.parent == other.parent == Path("runs/imdb")


def test_nothing_is_left_where_nothing_was_written() -> None:
    for config in (Config(task="imdb"), Config(run_dir="a/b/c")):
        with pytest.raises(LookupError), claimed(config):
            raise LookupError
        assert list(Path().iterdir()) == []
    os.mkdir("empty")
    with claimed(Config(run_dir="empty")):
        pass
    assert list(Path("empty").iterdir()) == []


def test_a_folder_in_use_or_missing_is_named() -> None:
    Path("file").write_text("")
    for name in ("file", "file/run"):
        with pytest.raises((ConfigError, OSError)), claimed(Config(run_dir=name)):
            pass
    with pytest.raises(CheckpointError, match="nowhere: there is no such run"), claimed(Config(resume="nowhere")):
        pass
    assert [path.name for path in Path().iterdir()] == ["file"]
