"""Every command of the README runs, in the order in which it stands there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from tests.conftest import write_reviews
from tests.scripts import ROOT, Shell

README = (ROOT / "README.md").read_text()

# So that training takes a second; which settings a command changes is the README's, on how much data is the test's.
TRIAL = ["trainer.max_steps=3", "model.embedding_size=8", "data.limit=60"]


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands() -> list[list[str]]:
    return [shlex.split(line, comments=True) for block in blocks("bash") for line in block.splitlines() if line.strip()]


def test_every_command_runs(shell: Shell) -> None:
    write_reviews(Path("reviews.csv"), 200)
    Path("reviews.txt").write_text("superb\ndull\n")
    done = shell("train.py", "task=imdb", "data.path=reviews.csv", "run_dir=first", *TRIAL)
    assert done.code == 0, done.err
    ran = 0
    for program, *arguments in commands():
        if program != "python":
            continue
        script = arguments.pop(0)
        arguments = [argument.replace("$CKPT", "first/checkpoints/best.ckpt") for argument in arguments]
        if script == "scripts/train.py":
            given = {argument.partition("=")[0] for argument in arguments}
            arguments += [setting for setting in TRIAL if setting.partition("=")[0] not in given]
            if "data.path" not in given:
                arguments.append("data.path=reviews.csv")
        if script == "scripts/benchmark.py":
            arguments += ["--steps", "2", "--rounds", "1"]
            arguments = [re.sub(r"^data\.path=.*", "data.path=reviews.csv", argument) for argument in arguments]
        done = shell(Path(script).name, *arguments)
        assert done.code == 0, (script, arguments, done.err)
        ran += 1
    assert ran >= 8


def test_every_make_target_and_file_named_is_there() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`?make ([a-z]+)", " ".join(blocks("bash"))):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE)
    for path in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / path).exists(), path


def test_the_python_examples_run(shell: Shell) -> None:
    write_reviews(Path("reviews.csv"), 200)
    assert shell("train.py", "task=imdb", "data.path=reviews.csv", "run_dir=first", *TRIAL).code == 0
    for block in blocks("python"):
        exec(block.replace("runs/imdb/…/checkpoints/best.ckpt", "first/checkpoints/best.ckpt"), {})
