"""The commands as a user types them: what they print, and the code they exit with."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.conftest import write_reviews
from tests.scripts import Shell, in_a_process
from unroll.cli import main

QUICK = ("encoder.hidden_size=8", "model.embedding_size=8", "trainer.max_steps=100", "optimizer.learning_rate=0.03")
# A hundred steps are too few for these.
BARE = ("model.embedding_dropout=0", "optimizer.ema_decay=null")


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory, reviews: Path) -> Path:
    """The folder of a run that the command trained."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("first"))
        assert main(["train", "task=imdb", f"data.path={reviews}", "run_dir=first", *QUICK, *BARE]) == 0
        return Path("first").resolve()


@pytest.fixture
def trained(shell: Shell, first: Path) -> str:
    """The path of a checkpoint trained by the command."""
    shutil.copytree(first, "first")
    return "first/checkpoints/best.ckpt"


def test_train_predict_and_evaluate(shell: Shell, trained: str, reviews: Path) -> None:
    said = shell("predict.py", trained, "a wonderful superb film", "dull and boring")
    assert said.code == 0
    assert [line.split()[0] for line in said.out.splitlines()] == ["good", "bad"]
    # Options may stand among the texts.
    answers = [json.loads(line) for line in shell("predict.py", trained, "--json", "superb", "dull").out.splitlines()]
    assert [answer["label"] for answer in answers] == ["good", "bad"]
    assert all(answer["probability"] == max(answer["probabilities"].values()) for answer in answers)
    figures = json.loads(shell("evaluate.py", trained).out)
    summary = json.loads(Path("first/summary.json").read_text())
    assert figures["accuracy"] == pytest.approx(summary["metrics"]["test/accuracy"])
    assert figures["examples"] == summary["data"]["test"] == 100
    for data in (reviews, reviews / "test.csv"):
        assert json.loads(shell("evaluate.py", trained, "--data", str(data)).out) == pytest.approx(figures)
    assert json.loads(shell("evaluate.py", trained, "--split", "val").out)["examples"] == 40
    mixed = json.loads(shell("evaluate.py", trained, "--mix").out)
    assert {name: mixed[name] for name in figures} == pytest.approx(figures)
    assert {"ngram_accuracy", "mixed_accuracy", "mixed_loss", "ngram_factor"} <= set(mixed)
    assert next(iter(mixed)) == "accuracy"


def test_predict_reads_files_and_standard_input(shell: Shell, trained: str) -> None:
    lines = b"superb\r\n\ndull \xff\xfe boring\nlast without an end"
    Path("texts.txt").write_bytes(lines)
    from_file = shell("predict.py", trained, "--file", "texts.txt")
    assert from_file.code == 0
    assert len(from_file.out.splitlines()) == 4
    assert "no word that the model knows" in from_file.out.splitlines()[1]
    assert shell("predict.py", trained, "-", stdin=lines).out == from_file.out
    write_reviews(Path("table.csv"), 10)
    labels = [line.split()[0] for line in shell("predict.py", trained, "--file", "table.csv").out.splitlines()]
    assert labels == ["good", "bad"] * 5


def test_predict_explains_itself_on_a_page(shell: Shell, trained: str) -> None:
    texts = ("a superb <script>alert(1)</script> film", "dull")
    plain = shell("predict.py", trained, *texts)
    said = shell("predict.py", trained, *texts, "--explain", "pages/out.html")
    assert (said.code, said.out) == (0, plain.out), said.err
    page = Path("pages/out.html").read_text()
    assert "<script" not in page
    assert ">superb</span>" in page
    in_json = shell("predict.py", trained, *texts, "--explain", "out.html", "--json")
    assert in_json.out == shell("predict.py", trained, *texts, "--json", "--engine", "torch").out
    Path("file").write_text("")
    said = shell("predict.py", trained, "dull", "--explain", "file/out.html")
    assert said.code == 1
    assert "file" in said.one_line()
    before = Path("out.html").read_text()
    said = shell("predict.py", trained, *["dull"] * 101, "--explain", "out.html")
    assert said.code == 1
    assert "more than 100 texts" in said.one_line()
    assert Path("out.html").read_text() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["encoder.hiden_size=3"], "there is no setting 'encoder.hiden_size'; did you mean 'encoder.hidden_size'?"),
        (["+encoder.hiden_size=3"], "did you mean 'encoder.hidden_size'?"),
        (["trainer.max_epoch=3"], "did you mean 'trainer.max_epochs'?"),
        (["encoder.hidden_size=-1"], "encoder.hidden_size=-1: must be at least 1"),
        (["encoder.hidden_size=many"], "encoder.hidden_size"),
        (["encoder=gru", "encoder.dropout=0.5"], "write encoder.num_layers=2"),
        (["tbptt.window=10"], "tbptt.window needs encoder.bidirectional=false"),
        (["task=imbd"], "there is no task=imbd; there are classification, imdb, language_modeling, mysterious_island"),
        (["experiment=none_such"], "there is no experiment=none_such; there are imdb_best, imdb_gpu, imdb_lm, "),
        (["data.path="], "data.path is empty; give it a value, or null"),
        (["encoder.hidden_size=[1"], "can't read 'encoder.hidden_size=[1'"),
    ],
)
def test_a_wrong_setting_exits_with_2_before_any_data_is_read(shell: Shell, arguments: list[str], message: str) -> None:
    said = shell("train.py", *arguments, "data.folder=nowhere")
    assert said.code == 2
    assert message in said.one_line()
    assert list(shell.folder.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"text,label\n", "no rows"),
        (b"text,stars\na,1\n", "no column 'label'"),
        (b"text,label\na,1\n\xff,0\n", "line 3 is not UTF-8"),
        (b"text,label\na,1\nb,\n", "row 2"),
        (b"text,label\n" + b"".join(b"w%d,1\n" % i for i in range(30)), "two classes"),
    ],
)
def test_wrong_data_exits_with_1_and_names_file_and_place(shell: Shell, content: bytes, message: str) -> None:
    Path("mine.csv").write_bytes(content)
    said = shell("train.py", "task=imdb", "data.path=mine.csv")
    assert said.code == 1
    assert "mine.csv" in said.one_line()
    assert message in said.err
    assert not Path("runs").exists()


def test_a_folder_that_cannot_be_written_is_named(shell: Shell, reviews: Path) -> None:
    Path("file").write_text("")
    for setting in ("run_dir=file/run", "data.folder=file"):
        said = shell("train.py", "task=imdb", f"data.path={reviews}", setting, *QUICK)
        assert said.code == 1
        assert "file" in said.one_line()
        assert "check the path" in said.err


def test_an_accelerator_that_is_not_there_is_a_wrong_setting(shell: Shell, reviews: Path) -> None:
    absent = "cuda" if torch.backends.mps.is_available() else "mps"
    said = shell("train.py", "task=imdb", f"data.path={reviews}", f"trainer.accelerator={absent}", "run_dir=run")
    assert said.code == 2
    assert "trainer.*" in said.one_line()
    assert not Path("run").exists()


def test_a_truncated_parquet_is_named(shell: Shell) -> None:
    Path("mine.parquet").write_bytes(b"PAR1" + bytes(100))
    said = shell("train.py", "task=imdb", "data.path=mine.parquet")
    assert said.code == 1
    assert "mine.parquet: damaged parquet" in said.one_line()


@pytest.mark.parametrize("script", ["predict.py", "evaluate.py"])
def test_a_checkpoint_that_is_none_exits_with_1(shell: Shell, script: str) -> None:
    Path("notes.txt").write_text("not a model")
    for path in ("none.ckpt", "notes.txt", "."):
        said = shell(script, path, *(["text"] if script == "predict.py" else []))
        assert said.code == 1
        assert path in said.one_line()


@pytest.mark.parametrize("arguments", [[], ["x.ckpt"], ["x.ckpt", "text", "--file", "y"], ["x.ckpt", "a", "--no"]])
def test_wrong_usage_of_predict_exits_with_2(shell: Shell, arguments: list[str]) -> None:
    said = shell("predict.py", *arguments)
    assert said.code == 2
    assert "usage: " in said.err


def test_labels_of_another_kind_exit_with_1(shell: Shell, trained: str) -> None:
    Path("other.csv").write_text("text,label\na,spam\n")
    said = shell("evaluate.py", trained, "--data", "other.csv")
    assert said.code == 1
    assert "other.csv: row 1 has the label 'spam'; the labels are bad, good" in said.one_line()


def test_several_runs_at_once(shell: Shell, reviews: Path) -> None:
    done = shell("train.py", "--multirun", f"data.path={reviews}", "seed=0,1", *QUICK, "trainer.max_steps=2")
    assert done.code == 0, done.err
    seeds = [json.loads(path.read_text())["seed"] for path in Path("runs/imdb").glob("*/summary.json")]
    assert sorted(seeds) == [0, 1]


def test_the_package_imports_without_torch() -> None:
    code = "import sys, unroll; sys.exit('torch' in sys.modules or 'lightning' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_reader_that_leaves_early_is_no_error(shell: Shell, trained: str) -> None:
    Path("many.txt").write_text("superb\n" * 900)  # their answers are more than a pipe holds
    os.mkfifo("answers")
    process = in_a_process(shell.folder, "predict", trained, "--json", "--file", "many.txt", stdout="answers")
    with Path("answers").open() as answers:
        first = answers.readline()
    process.join()
    assert '"good"' in first
    assert 900 * len(first) > 2**16
    assert process.exitcode == 141
    assert Path("stderr").read_text() == ""


def test_sigterm_saves_and_exits_with_143(reviews: Path, tmp_path: Path) -> None:
    settings = ["checkpoint.every_n_steps=5", "trainer.max_epochs=100000", "run_dir=run", "threads=1", *QUICK[:2]]
    process = in_a_process(tmp_path, "train", "task=imdb", f"data.path={reviews}", *settings)
    while not (tmp_path / "run/checkpoints/last.ckpt").exists() and process.exitcode is None:
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGTERM)
    process.join()
    err = (tmp_path / "stderr").read_text()
    assert process.exitcode == 143, err
    assert re.fullmatch(
        r"error: stopped by SIGTERM; the run is saved; resume it: \S*(unroll|python3? -m unroll) train resume=run\n",
        err,
    )
    assert json.loads((tmp_path / "run/summary.json").read_text())["status"] == "interrupted"
