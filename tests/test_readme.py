"""Every command of the README and of the docs runs, in the order in which it stands there."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

from benchmarks.__main__ import TABLES
from tests.conftest import write_reviews
from tests.scripts import ROOT, Shell
from unroll.cli import main
from unroll.registry import ENCODERS

README, DOCS = ROOT / "README.md", ROOT / "docs"

# So that training takes a second; which settings a command changes is the page's, on how much data is the test's.
TRIAL = ["trainer.max_steps=3", "model.embedding_size=8", "data.limit=60"]
TEXTS = {"task=mysterious_island", "task=language_modeling", "experiment=textbook_charlm"}
NOVEL_TRIAL = [*TRIAL[:2], "encoder.hidden_size=8", "data.batch_size=4", "data.limit=600"]
NAMES_ITS_DATA = "task=shop_reviews"

# Those with commands that need no preparation of their own. A command that stands on several of them runs once.
PLAIN = ["README.md", *(f"docs/{name}.md" for name in ("start", "results", "command-line"))]
PLAIN += [f"docs/guides/{name}.md" for name in ("own-data", "train-and-resume", "search", "deploy")]
WITH_PYTHON = ["README.md", "docs/start.md", "docs/recurrence.md", "docs/guides/own-encoder.md"]
PRETRAINING = "docs/guides/pretraining.md"
WITH_PYTHON += [PRETRAINING, "docs/guides/deploy.md"]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), flags=re.DOTALL)


def commands(page: Path) -> list[list[str]]:
    lines = "".join(blocks(page, "bash")).splitlines()
    return [shlex.split(line, comments=True) for line in lines if line.strip()]


def in_this_folder(text: str) -> str:
    """Point a command or an example to the checkpoints of `both`, and to little data."""
    for name in ("$CKPT", "runs/imdb/…/checkpoints/best.ckpt"):
        text = text.replace(name, "first/checkpoints/best.ckpt")
    for name in ("$NOVEL", "runs/mysterious_island/…/checkpoints/best.ckpt"):
        text = text.replace(name, "second/checkpoints/best.ckpt")
    little = repr([*TRIAL, "data.path=reviews.csv"])
    text = text.replace('overrides=["trainer.max_epochs=1"]', f"overrides={little}")
    return text.replace("overrides=overrides", f"overrides=overrides + {little}")


def write_data() -> None:
    write_reviews(Path("reviews.csv"), 200)
    table = Path("reviews.csv").read_text()
    Path("kaggle.csv").write_text(table.replace("text,label", "review,sentiment"))
    Path("shop.csv").write_text(table.replace("text,label", "comment,verdict"))
    Path("reviews.txt").write_text("superb\ndull\n")
    Path("any.txt").write_text("The island was silent. “Captain,” cried the sailor.\n" * 300)
    Path("reviews/train").mkdir(parents=True)
    Path("reviews/train/1.csv").write_text(table)
    Path("texts").mkdir()
    Path("texts/any.txt").write_text(Path("any.txt").read_text())


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data, and with a run of each task that is over."""
    folder = tmp_path_factory.mktemp("both")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_data()
        assert main(["train", "task=imdb", "data.path=reviews.csv", "run_dir=first", *TRIAL]) == 0
        assert main(["train", "task=mysterious_island", "data.path=any.txt", "run_dir=second", *NOVEL_TRIAL]) == 0
    return folder


def write_files(page: Path) -> None:
    """Write each block of YAML to the path that its second line names; Hydra wants the first for itself."""
    for block in blocks(page, "yaml"):
        path = Path(block.splitlines()[1].removeprefix("# "))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block)


def run_all(lines: list[list[str]], shell: Shell) -> int:
    """Run commands on little data; return how many there are."""
    ran = 0
    for program, *arguments in lines:
        if (program, arguments[:1]) == ("python", ["-m"]):  # they run in tests/benchmarks
            assert arguments[1] == "benchmarks" and arguments[2] in TABLES
            ran += 1
        if program != "unroll":
            continue
        command = arguments.pop(0)
        arguments = [in_this_folder(argument) for argument in arguments]
        resumed = next((Path(a.partition("=")[2]) for a in arguments if re.match("resume=(?!auto)", a)), None)
        if resumed:
            (resumed / "summary.json").unlink()  # as if it had been killed
        elif command == "serve":  # all but to wait for requests
            shell.monkeypatch.setattr("unroll.serve.server.serve", lambda *_: None)
            arguments += ["--port", "0"]
        elif command == "sweep":
            arguments += [*TRIAL, "data.path=reviews.csv", "sweep.trials=2"]
        elif command == "train":
            given = {argument.partition("=")[0] for argument in arguments}
            is_novel = not TEXTS.isdisjoint(arguments)
            trial = NOVEL_TRIAL if is_novel else TRIAL
            arguments += [setting for setting in trial if setting.partition("=")[0] not in given]
            if not given & {"data.path", "data.source"} and NAMES_ITS_DATA not in arguments:
                arguments.append("data.path=any.txt" if is_novel else "data.path=reviews.csv")
        done = shell(f"{command}.py", *arguments)
        assert done.code == 0, (command, arguments, done.err)
        ran += 1
    return ran


@pytest.mark.parametrize("name", PLAIN)
def test_every_command_of_a_page_runs(name: str, shell: Shell, both: Path) -> None:
    before = [line for earlier in PLAIN[: PLAIN.index(name)] for line in commands(ROOT / earlier)]
    own = [line for line in commands(ROOT / name) if line not in before]
    shutil.copytree(both, ".", dirs_exist_ok=True)
    write_files(ROOT / name)
    assert run_all(own, shell) >= (15 if name == "README.md" else 1)


def test_no_page_with_commands_is_forgotten() -> None:
    pages = {str(page.relative_to(ROOT)) for page in DOCS.rglob("*.md") if blocks(page, "bash")}
    # TensorBoard's start; tests/benchmarks/test_study.py; tests/training/test_launch.py
    elsewhere = {"docs/guides/tensorboard.md", "docs/study.md", "docs/guides/scale-out.md"}
    assert (
        pages
        == {*PLAIN[1:], "docs/recurrence.md", "docs/reliability.md", "docs/performance.md", PRETRAINING} | elsewhere
    )
    with_python = {str(page.relative_to(ROOT)) for page in DOCS.rglob("*.md") if blocks(page, "python")}
    assert with_python == {*WITH_PYTHON[1:]}


def test_every_command_of_the_guide_runs_and_makes_its_picture(shell: Shell) -> None:
    """On little data, and with few units and rare looks at them: the pictures are empty of meaning, not of lines."""
    write_data()
    Path("data").mkdir()
    Path("data/1268-0.txt").write_text(Path("any.txt").read_text())
    guide = DOCS / "recurrence.md"
    small = {"encoder.hidden_size=256": "encoder.hidden_size=8", "trainer.max_steps=200": "trainer.max_steps=3"}
    small |= {'"task=mysterious_island ': '"task=mysterious_island encoder.hidden_size=8 ', "--lags 200": "--lags 80"}
    text = guide.read_text()
    for setting, smaller in small.items():
        text = text.replace(setting, smaller)
    copy = Path("guide.md")
    # Pictures of gates need a look at them; runs of three steps have none by default.
    copy.write_text(text.replace("run_dir=", "diagnostics.every_n_steps=1 run_dir="))
    assert run_all(commands(copy), shell) >= 17
    pictures = re.findall(r"\]\((pictures/[^)]+)\)", text)
    assert len(pictures) == 6
    for picture in pictures:
        assert (Path("docs") / picture).exists()
        assert (guide.parent / picture).exists()


def test_the_command_that_resumes_a_run_is_as_the_page_on_reliability_shows_it(shell: Shell) -> None:
    write_data()
    folder = "runs/imdb/2026-01-01_12-00-00"
    done = shell("train.py", "task=imdb", "data.path=reviews.csv", f"run_dir={folder}", *TRIAL)
    assert done.code == 0, done.err
    assert run_all(commands(DOCS / "reliability.md"), shell) == 3


def test_every_command_of_the_page_on_speed_makes_a_table_that_is_tested(shell: Shell) -> None:
    lines = commands(DOCS / "performance.md")
    measured = {*TABLES} - {"overhead", "baselines", "processes", "serving"}  # these stand on other pages
    assert {line[3] for line in lines if line[0] == "python"} == measured
    assert run_all(lines, shell) == len(lines) - 1  # `make benchmark` runs several of them


def test_the_python_examples_run(shell: Shell, both: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ENCODERS, "_entries", dict(ENCODERS._entries))  # they register some
    shutil.copytree(both, ".", dirs_exist_ok=True)
    assert run_all(commands(ROOT / PRETRAINING), shell) == 3  # its example uses what they leave
    assert shell("export", "first/checkpoints/best.ckpt", "sentiment").code == 0  # another one uses this
    names: dict[str, object] = {}
    for page in WITH_PYTHON:
        for block in blocks(ROOT / page, "python"):
            exec(in_this_folder(block), names)


def test_tensorboard_is_bound_to_this_machine_wherever_it_is_shown() -> None:
    shown = 0
    for path in [README, ROOT / "CONTRIBUTING.md", *DOCS.rglob("*.md"), *(ROOT / "src").rglob("*.py")]:
        for line in path.read_text().splitlines():
            if "tensorboard --" in line:
                assert "--host 127.0.0.1" in line, path
                shown += 1
    assert shown >= 2
