"""Every command of the README and of docs/ runs, in the order in which it stands there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from benchmarks.__main__ import TABLES
from tests.conftest import write_reviews
from tests.scripts import ROOT, Shell

README = ROOT / "README.md"

# So that training takes a second; which settings a command changes is the README's, on how much data is the test's.
TRIAL = ["trainer.max_steps=3", "model.embedding_size=8", "data.limit=60"]
TEXTS = {"task=mysterious_island", "task=language_modeling", "experiment=textbook_charlm"}
NOVEL_TRIAL = [*TRIAL[:2], "encoder.hidden_size=8", "data.batch_size=4", "data.limit=600"]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), flags=re.DOTALL)


def commands(page: Path) -> list[list[str]]:
    lines = "".join(blocks(page, "bash")).splitlines()
    return [shlex.split(line, comments=True) for line in lines if line.strip()]


def in_this_folder(text: str) -> str:
    """Point a command or an example to the checkpoints that `train_both` left."""
    for name in ("$CKPT", "runs/imdb/…/checkpoints/best.ckpt"):
        text = text.replace(name, "first/checkpoints/best.ckpt")
    for name in ("$NOVEL", "runs/mysterious_island/…/checkpoints/best.ckpt"):
        text = text.replace(name, "second/checkpoints/best.ckpt")
    return text


def train_both(shell: Shell) -> None:
    write_reviews(Path("reviews.csv"), 200)
    Path("kaggle.csv").write_text(Path("reviews.csv").read_text().replace("text,label", "review,sentiment"))
    Path("any.txt").write_text("The island was silent. “Captain,” cried the sailor.\n" * 300)
    done = shell("train.py", "task=imdb", "data.path=reviews.csv", "run_dir=first", *TRIAL)
    assert done.code == 0, done.err
    done = shell("train.py", "task=mysterious_island", "data.path=any.txt", "run_dir=second", *NOVEL_TRIAL)
    assert done.code == 0, done.err


def run_all(page: Path, shell: Shell) -> int:
    """Run the page's commands on little data; return how many there are."""
    ran = 0
    for program, *arguments in commands(page):
        if program != "python":
            continue
        script = arguments.pop(0)
        arguments = [in_this_folder(argument) for argument in arguments]
        resumed = next((Path(a.partition("=")[2]) for a in arguments if a.startswith("resume=")), None)
        if resumed:
            (resumed / "summary.json").unlink()  # as if it had been killed
        elif script == "scripts/train.py":
            given = {argument.partition("=")[0] for argument in arguments}
            is_novel = not TEXTS.isdisjoint(arguments)
            trial = NOVEL_TRIAL if is_novel else TRIAL
            arguments += [setting for setting in trial if setting.partition("=")[0] not in given]
            if not given & {"data.path", "data.source"}:
                arguments.append("data.path=any.txt" if is_novel else "data.path=reviews.csv")
        if script == "-m":  # they run in tests/benchmarks
            assert arguments[0] == "benchmarks" and arguments[1] in TABLES
            ran += 1
            continue
        done = shell(Path(script).name, *arguments)
        assert done.code == 0, (script, arguments, done.err)
        ran += 1
    return ran


def test_every_command_of_the_readme_runs(shell: Shell) -> None:
    train_both(shell)
    Path("reviews.txt").write_text("superb\ndull\n")
    assert run_all(README, shell) >= 22


def test_every_command_of_the_guide_runs_and_makes_its_picture(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """On little data, and with few units and rare looks at them: the pictures are empty of meaning, not of lines."""
    write_reviews(Path("reviews.csv"), 200)
    Path("data").mkdir()
    for path in ("any.txt", "data/1268-0.txt"):
        Path(path).write_text("The island was silent. “Captain,” cried the sailor.\n" * 300)
    guide = ROOT / "docs" / "recurrence.md"
    small = {"encoder.hidden_size=256": "encoder.hidden_size=8", "trainer.max_steps=200": "trainer.max_steps=3"}
    text = guide.read_text()
    for setting, smaller in small.items():
        text = text.replace(setting, smaller)
    copy = Path("guide.md")
    # Pictures of gates need a look at them; runs of three steps have none by default.
    copy.write_text(text.replace("run_dir=", "diagnostics.every_n_steps=1 run_dir="))
    assert run_all(copy, shell) >= 17
    pictures = re.findall(r"\]\((pictures/[^)]+)\)", text)
    assert len(pictures) == 6
    for picture in pictures:
        assert (Path("docs") / picture).exists()
        assert (guide.parent / picture).exists()


def test_the_command_that_resumes_a_run_is_as_the_page_on_reliability_shows_it(shell: Shell) -> None:
    write_reviews(Path("reviews.csv"), 200)
    Path("any.txt").write_text("The island was silent. “Captain,” cried the sailor.\n" * 300)
    folder = "runs/imdb/2026-01-01_12-00-00"
    done = shell("train.py", "task=imdb", "data.path=reviews.csv", f"run_dir={folder}", *TRIAL)
    assert done.code == 0, done.err
    assert run_all(ROOT / "docs" / "reliability.md", shell) == 3


def test_every_command_of_the_page_on_speed_makes_a_table_that_is_tested(shell: Shell) -> None:
    assert run_all(ROOT / "docs" / "performance.md", shell) == len(TABLES)
    assert {command[3] for command in commands(ROOT / "docs" / "performance.md") if command[0] == "python"} == {
        *TABLES,
    } - {"overhead"}


def test_every_make_target_and_file_named_is_there() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`?make ([a-z]+)", " ".join(blocks(README, "bash"))):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE)
    for page in (README, *(ROOT / "docs").glob("*.md")):
        for path in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / path).exists(), path


def test_the_python_examples_run(shell: Shell) -> None:
    train_both(shell)
    names: dict[str, object] = {}
    for block in [*blocks(README, "python"), *blocks(ROOT / "docs" / "recurrence.md", "python")]:
        exec(in_this_folder(block), names)


def test_tensorboard_is_bound_to_this_machine_wherever_it_is_shown() -> None:
    shown = 0
    for path in [README, ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "src").rglob("*.py")]:
        for line in path.read_text().splitlines():
            if "tensorboard --" in line:
                assert "--host 127.0.0.1" in line, path
                shown += 1
    assert shown >= 2
