"""The language model's commands as a user types them: what they print, and the code they exit with."""

from __future__ import annotations

import io
import json
import random
import shutil
import sys
from pathlib import Path

import pytest

from tests.scripts import Shell
from unroll.cli import main

TEXT = "".join(random.Random(0).choices(["the ", "sea ", "island ", "and ", "captain\n"], k=800))
QUICK = (
    "task=mysterious_island",
    "encoder.hidden_size=16",
    "model.embedding_size=8",
    "data.batch_size=8",
    "tbptt.window=16",
    "trainer.max_steps=60",
    "optimizer.learning_rate=0.03",
)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that the command trained."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("first"))
        Path("any.txt").write_text(TEXT)
        assert main(["train", "data.path=any.txt", "run_dir=first", *QUICK]) == 0
        return Path("first").resolve()


@pytest.fixture
def trained(shell: Shell, first: Path) -> str:
    """The path of a checkpoint trained by the command."""
    Path("any.txt").write_text(TEXT)
    shutil.copytree(first, "first")
    return "first/checkpoints/best.ckpt"


def test_predict_shows_what_surprised_it(shell: Shell, trained: str) -> None:
    Path("part.txt").write_text(TEXT[:500])
    said = shell("predict.py", trained, TEXT[:500], "--explain", "out.html", "--json")
    assert said.code == 0, said.err
    figures = json.loads(said.out)
    expected = json.loads(shell("evaluate.py", trained, "--data", "part.txt").out)
    assert figures["bits_per_character"] == pytest.approx(expected["bpc"], abs=1e-5)
    assert figures["characters"] == expected["characters"]
    assert "What surprised the model" in Path("out.html").read_text()
    said = shell("predict.py", trained, "the <b>sea</b>", "--explain", "out.html")
    assert said.out.endswith(" bits per character  the <b>sea</b>\n")
    assert "t" in shell("predict.py", trained, "t", "--explain", "out.html").one_line()


def test_train_generate_and_evaluate(shell: Shell, trained: str) -> None:
    said = shell("generate.py", trained, "--prompt", "the ", "--length", "80")
    assert said.code == 0
    assert said.out.startswith("the ")
    assert len(said.out) == 4 + 80 + 1
    assert shell("generate.py", trained, "--prompt", "the ", "--length", "80").out == said.out
    assert shell("generate.py", trained, "--prompt", "the ", "--length", "80", "--seed", "1").out != said.out

    several = shell("generate.py", trained, "--prompt", "the ", "--length", "80", "--samples", "3", "--json")
    texts = [json.loads(line) for line in several.out.splitlines()]
    assert [(text["seed"], text["sample"]) for text in texts] == [(0, 0), (0, 1), (0, 2)]
    assert len({text["text"] for text in texts}) == 3
    assert texts[0]["text"] + "\n" == said.out
    shown = shell("generate.py", trained, "--prompt", "the ", "--length", "80", "--samples", "3").out
    assert all(f"--- sample {text['sample']}\n{text['text']}\n" in shown for text in texts)
    assert shell("generate.py", trained, "--length", "10").out[0] == TEXT[0]

    summary = json.loads(Path("first/summary.json").read_text())
    figures = json.loads(shell("evaluate.py", trained).out)
    assert figures["bpc"] == pytest.approx(summary["metrics"]["test/bpc"], abs=1e-5)
    Path("other.txt").write_text("the sea ¿ and the captain")
    other = json.loads(shell("evaluate.py", trained, "--data", "other.txt").out)
    assert (other["characters"], other["unknown"]) == (24, 1)
    dynamic = json.loads(shell("evaluate.py", trained, "--data", "other.txt", "--dynamic").out)
    assert "dynamic_bpc" in dynamic
    assert "bpc" not in dynamic


@pytest.mark.parametrize(
    ("content", "settings", "code", "message"),
    [
        (b"", [], 1, "empty"),
        (b"too short", [], 1, "give it a longer text"),
        (b"ab" * 60, [], 1, "write data.batch_size=6 or less"),
        (b"ab" * 60, ["data.batch_size=1", "tbptt.window=500"], 1, "write tbptt.window=107 or less"),
        (b"ab" * 60, ["data.batch_size=1000"], 1, "1000 lanes make 0 a lane"),
        (b"a" * 500, [], 1, "holds 'a' alone"),
        (b"text\n\xff\xfe\n" * 99, [], 1, "line 2 is not UTF-8"),
        (b"ab" * 500, ["tbptt.window=0"], 2, "tbptt.window=0: must be at least 1"),
        (b"ab" * 500, ["tbptt.stride=17"], 2, "tbptt.stride=17 goes beyond tbptt.window=16"),
        (b"ab" * 500, ["encoder=bilstm"], 2, "encoder.bidirectional=false"),
        (b"ab" * 500, ["model.pooling=[max]"], 2, "'model.pooling' is a setting of classification alone"),
        (b"ab" * 500, ["data.source=embedded"], 2, "drop one of them"),
    ],
)
def test_bad_input_is_one_line(shell: Shell, content: bytes, settings: list[str], code: int, message: str) -> None:
    Path("any.txt").write_bytes(content)
    said = shell("train.py", *QUICK, "data.path=any.txt", *settings)
    assert said.code == code, said.err
    assert message in said.one_line()
    assert not Path("runs").exists()


def test_crlf_line_ends_are_read_as_lf_and_said_to_be(shell: Shell) -> None:
    Path("any.txt").write_bytes(TEXT.replace("\n", "\r\n").encode())
    done = shell("train.py", "data.path=any.txt", "run_dir=first", *QUICK, "trainer.max_steps=1")
    assert done.code == 0, done.err
    assert "CRLF line ends are read as LF" in done.out
    assert json.loads(Path("first/summary.json").read_text())["data"]["vocabulary"] == 2 + len(set(TEXT))


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--prompt", "été"], 1, "'é' (position 0)"),
        (["--length", "0"], 2, "length must be at least 1"),
        (["--temperature", "-1"], 2, "temperature"),
        (["--top-k", "0"], 2, "top_k must be at least 1"),
        (["--top-p", "1.5"], 2, "top_p"),
        (["--seed", "-1"], 2, "seed"),
        (["--samples", "0"], 2, "samples must be at least 1"),
    ],
)
def test_wrong_orders_to_write_are_one_line(
    shell: Shell, trained: str, arguments: list[str], code: int, message: str
) -> None:
    said = shell("generate.py", trained, *arguments)
    assert said.code == code
    assert message in said.one_line()
    assert said.out == ""


def test_a_terminal_that_cannot_show_a_character_is_named(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("any.txt").write_text("“été” " * 300, encoding="utf-8")
    assert shell("train.py", "data.path=any.txt", "run_dir=first", *QUICK, "trainer.max_steps=1").code == 0
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    said = shell("generate.py", "first/checkpoints/last.ckpt")
    assert said.code == 1
    assert "PYTHONIOENCODING=utf-8" in said.one_line()


def test_each_script_names_the_one_that_fits_the_checkpoint(shell: Shell, trained: str, reviews: Path) -> None:
    assert "unroll generate " in shell("predict.py", trained, "text").one_line()
    quick = ("encoder.hidden_size=4", "model.embedding_size=4", "trainer.max_steps=1", "run_dir=second")
    assert shell("train.py", "task=imdb", f"data.path={reviews}", *quick).code == 0
    classifier = "second/checkpoints/last.ckpt"
    assert "unroll predict " in shell("generate.py", classifier).one_line()
    said = shell("evaluate.py", classifier, "--dynamic")
    assert said.code == 2
    assert "--dynamic is for language models" in said.one_line()
