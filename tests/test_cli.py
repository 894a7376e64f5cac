"""The command `unroll`: its help, its first line, its ways to end."""

from __future__ import annotations

import json
import math
import os
import runpy
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

import unroll
from tests.conftest import write_reviews
from tests.faults.interrupts import interrupts
from tests.scripts import ROOT, Shell
from unroll.cli import main, run
from unroll.cli.multirun import Job, Multirun
from unroll.commands import COMMANDS, typed
from unroll.errors import ConfigError, UserError, memory_error
from unroll.inference.classify import Prediction
from unroll.progress import display

QUICK = ("encoder.hidden_size=8", "model.embedding_size=8", "trainer.max_steps=3")


def test_help_names_every_command_and_each_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == main(["--help"]) == 0
    overview = capsys.readouterr().out
    for name in COMMANDS:
        try:
            code = main([name, "--help"])
        except SystemExit as done:  # argparse's way
            code = int(done.code or 0)
        said = capsys.readouterr().out
        assert code == 0
        assert f"\n  {name} " in overview
        assert f"unroll {name} " in said
        assert "examples:" in said


@pytest.mark.parametrize("name", COMMANDS)
def test_each_script_is_the_command_of_its_name(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [f"scripts/{name}.py", "--help"])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(ROOT / "scripts" / f"{name}.py"), run_name="__main__")
    assert not end.value.code
    assert f"unroll {name} " in capsys.readouterr().out


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"unroll {unroll.__version__}\n"


def test_an_unknown_command_exits_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trian\x1b[31m"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: there is no command 'trian")
    assert "train, sweep, evaluate" in error
    assert "\x1b" not in error


def test_a_command_says_what_it_does_before_it_imports_what_takes_long(tmp_path: Path) -> None:
    """What comes before the first line is Python's start and modules of the standard library."""
    code = (
        "import builtins, sys\n"
        "from unroll.__main__ import main\n"
        "def show(line, **_):\n"
        "    slow = {'torch', 'numpy', 'hydra', 'rich', 'lightning', 'matplotlib'} & set(sys.modules)\n"
        "    sys.stdout.write(f'{line} {slow}'); sys.stdout.flush()\n"
        "    import os; os._exit(0)\n"
        "builtins.print = show\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "train"], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.stdout == f"unroll {unroll.__version__}: reading the settings set()", done.stderr


def test_a_printed_command_works_when_it_is_pasted(tmp_path: Path) -> None:
    line = typed("predict", tmp_path / "my run" / "it's.ckpt")
    done = subprocess.run(line, shell=True, capture_output=True, text=True, check=False)  # noqa: S602
    assert done.returncode == 2
    assert "give texts" in done.stderr
    assert shlex.split(line)[-1] == str(tmp_path / "my run" / "it's.ckpt")


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (ConfigError("seed=x: no"), 2, "seed=x: no"),
        (UserError("a\nb\x1b[31m"), 1, "a↵b␛[31m"),
        (FileNotFoundError(2, "No such file", "x"), 1, "x: No such file; check the path"),
        (MemoryError(), 1, "memory ran out; lower data.batch_size"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 2147483648 bytes."),
            1,
            "2.0 GiB",
        ),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_what_ends_a_command_is_one_line(
    error: BaseException, code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def work() -> None:
        raise error

    assert run(work) == code
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert message in said


def test_an_error_of_the_programs_own_is_not_hidden() -> None:
    assert memory_error(RuntimeError("shape mismatch")) is None
    with pytest.raises(RuntimeError, match="shape mismatch"):
        run(lambda: (_ for _ in ()).throw(RuntimeError("shape mismatch")).__next__())


def test_signals_are_as_before_when_a_command_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGINT)
    main(["--version"])
    assert signal.getsignal(signal.SIGINT) is before


def test_an_interrupted_start_ends_at_once_with_one_line(tmp_path: Path) -> None:
    outcome = interrupts(tmp_path, 3, step=0.7)
    assert outcome.tried == 3
    assert outcome.lost == []


def test_a_model_that_is_too_large_is_one_line(shell: Shell, reviews: Path, little_memory: None) -> None:
    huge = ("encoder.hidden_size=65536", "encoder.num_layers=64", "model.embedding_size=65536")
    done = shell("train", "task=imdb", f"data.path={reviews}", *huge)
    assert done.code == 1
    assert done.err.startswith("error: memory ran out")
    assert done.err.count("\n") == 1


@pytest.fixture
def little_memory() -> Iterator[None]:
    import resource

    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (2**34, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def test_training_from_python(shell: Shell, reviews: Path, capsys: pytest.CaptureFixture[str]) -> None:
    summary = unroll.train("imdb", [f"data.path={reviews}", "run_dir=run", *QUICK])
    assert summary == json.loads(Path("run/summary.json").read_text())
    assert unroll.load(summary["checkpoints"]["best"]).labels == ("bad", "good")
    assert "Next:" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="the run in run is complete"):
        unroll.train(overrides=["resume=run"])
    longer = unroll.train(overrides=["resume=run", "trainer.max_steps=5"])
    assert (longer["train"]["steps"], longer["status"]) == (5, "completed")
    Path("mine/task").mkdir(parents=True)
    Path("mine/task/shop.yaml").write_text(
        "# @package _global_\ndefaults: [classification, _self_]\ntask: shop\ndata: {path: " + str(reviews) + "}\n"
    )
    Path("mine").rename("mi,ne")
    assert unroll.train("shop", QUICK, config_dir="mi,ne")["task"] == "shop"


def test_what_makes_another_run_is_no_part_of_a_resume(shell: Shell) -> None:
    Path("run").mkdir()
    for setting in ("encoder=gru", "experiment=textbook_imdb", "run_dir=other"):
        said = shell("train.py", "resume=run", setting)
        assert said.code == 2
        assert "leave" in said.one_line()


def test_jobs_that_fail_do_not_stop_the_others_and_a_table_tells_of_all(shell: Shell) -> None:
    write_reviews(Path("reviews.csv"), 100)
    sweep = ("encoder.dropout=0.5,0", "seed=1,2")  # drop-out between layers, where there is one
    said = shell("train.py", "--multirun", "task=imdb", "data.path=reviews.csv", *sweep, *QUICK)
    assert said.code == 2
    assert said.err.count("error: encoder.dropout works between layers") == 2
    lines = said.out.splitlines()
    headers = [line for line in lines if line.startswith("job ") and "settings" not in line]
    assert headers[0] == "job 1: encoder.dropout=0.5 seed=1"
    assert len(headers) == 4
    rows = [line.split() for line in lines[-4:]]
    assert [row[:3] for row in rows[2:]] == [["3", "encoder.dropout=0", "seed=1"], ["4", "encoder.dropout=0", "seed=2"]]
    assert [row[3] for row in rows] == ["exit", "exit", "completed", "completed"]
    folders = sorted(path.name for path in Path("runs/imdb").iterdir())
    assert [name.split("_", 2)[2] for name in folders] == ["03_encoder.dropout=0,seed=1", "04_encoder.dropout=0,seed=2"]
    for row in rows[2:]:
        assert (Path(row[-1]) / "checkpoints" / "best.ckpt").is_file()


def test_a_multirun_that_a_signal_stops_after_a_failed_job_has_the_code_of_the_signal() -> None:
    jobs = Multirun(["seed=1,2"])
    jobs.jobs = [Job("seed=1", "a", 2), Job("seed=2", "b", 143)]
    with pytest.raises(SystemExit) as ended:
        jobs.finish()
    assert ended.value.code == 143


def test_a_multirun_with_a_folder_of_its_own(shell: Shell) -> None:
    write_reviews(Path("reviews.csv"), 100)
    said = shell("train.py", "-m", "task=imdb", "data.path=reviews.csv", "run_dir=sweep", "seed=1,2", *QUICK)
    assert said.code == 0, said.err
    assert sorted(os.listdir("sweep")) == ["01_seed=1", "02_seed=2"]


def test_display_is_of_the_block_alone() -> None:
    from rich.console import Console

    from unroll import progress

    with display(Console(quiet=True)):
        assert progress._display.get() is not None
    assert progress._display.get() is None


def test_a_probability_that_is_no_number_is_not_printed(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = Prediction("good", math.nan, {"bad": math.nan, "good": math.nan}, tokens=1, unknown=0)
    model = SimpleNamespace(predict_stream=lambda texts: (unknown for _ in texts))
    monkeypatch.setattr("unroll.cli.predict.load_model", lambda *arguments: model)
    said = shell("predict", "best.ckpt", "a film", "--json")
    assert said.code == 1
    assert said.one_line() == "error: the model's logits are not finite: its training diverged; use another model"


def test_an_exported_model_has_no_statistics_and_is_not_exported_again(shell: Shell) -> None:
    Path("text.txt").write_text("the sea and the island " * 20)
    said = shell("evaluate", "novel", "--data", "text.txt", "--dynamic")
    assert said.one_line().startswith("error: novel: an exported model holds no gradient statistics")
    assert shell("export", "novel", "out").one_line() == "error: novel: is exported already; name a checkpoint"
