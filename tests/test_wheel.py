"""The package as it is installed: it holds its settings and its command, and needs no checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

from tests.conftest import write_reviews
from tests.scripts import ROOT

QUICK = ("model.embedding_size=8", "encoder.hidden_size=8", "trainer.max_steps=3")


def test_a_wheel_trains_predicts_and_generates_in_an_empty_folder(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for name in ("src", "conf"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("*.egg-info", "__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    _run(*pip, "wheel", "--no-build-isolation", "--no-deps", "--no-index", "--wheel-dir", tmp_path / "dist", source)
    (wheel,) = (tmp_path / "dist").iterdir()
    # A fresh environment. Its dependencies are those of this one; of this one's own unroll it sees nothing.
    venv.create(tmp_path / "venv", with_pip=False)
    site = next((tmp_path / "venv").glob("lib/python*/site-packages"))
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    _run(*pip, "--python", tmp_path / "venv" / "bin" / "python", "install", "--no-deps", "--no-index", wheel)
    with zipfile.ZipFile(wheel) as archive:
        shipped = {name.removeprefix("unroll/conf/") for name in archive.namelist() if name.startswith("unroll/conf/")}
    assert shipped == {str(path.relative_to(ROOT / "conf")) for path in (ROOT / "conf").rglob("*.yaml")}

    command, folder = tmp_path / "venv" / "bin" / "unroll", tmp_path / "empty"
    folder.mkdir()
    write_reviews(folder / "reviews.csv", 100)
    (folder / "novel.txt").write_text("The island was silent. “Captain,” cried the sailor.\n" * 100)
    assert _run(command, "--version").startswith("unroll ")
    reviews = ["task=imdb", "data.path=reviews.csv", "run_dir=reviews", *QUICK]
    novel = ["data.path=novel.txt", "data.batch_size=4", "tbptt.window=20", "run_dir=novel", *QUICK]
    code = (
        f"import sys, unroll; print(unroll.__file__); summary = unroll.train('mysterious_island', {novel})\n"
        "print('written:', len(unroll.load(summary['checkpoints']['best']).generate(length=20)))\n"
        f"from unroll.cli import main; sys.exit(main(['train', *{reviews}]))\n"
    )
    said = _run(tmp_path / "venv" / "bin" / "python", "-c", code, cwd=folder)
    assert said.startswith(str(site))
    assert "written: 20\n" in said
    # The next command, as it is printed, in a shell.
    typed = said.rpartition("Next:\n")[2].splitlines()[0].strip()
    answer = subprocess.run(  # noqa: S602
        typed, shell=True, cwd=folder, env=_clean(), capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.split()[0] in ("good", "bad")


def _run(*command: object, cwd: Path | None = None) -> str:
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=cwd, env=_clean(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, (words, done.stdout, done.stderr)
    return done.stdout


def _clean() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
