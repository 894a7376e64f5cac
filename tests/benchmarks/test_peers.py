"""The table of other libraries, which are not installed here: programs of known figures take their place."""

from __future__ import annotations

import dataclasses
import io
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest

import benchmarks.ours
import benchmarks.peers
import unroll
from benchmarks.peers import FASTAI, KERAS, OURS, has
from benchmarks.request import read
from tests.benchmarks.conftest import TEXT, Benchmark, rows
from unroll.config import to_dict
from unroll.tasks.spec import load_data

SMALL = ("encoder.hidden_size=8", "model.embedding_size=8")

# It replaces all programs. The accuracy rises and the bits fall from turn to turn. The other libraries compile first,
# and are as good as this package one turn later.
FAKE = """
import json, pathlib, sys
settings = json.loads(sys.stdin.readline())
is_other = "folder" in settings
if is_other:
    arrays = sorted(path.name for path in pathlib.Path(settings["folder"]).iterdir())
    pathlib.Path(f"{sys.argv[0]}.json").write_text(json.dumps([settings, arrays]))
    rises = "window" not in settings
else:
    rises = settings["kind"] == "classification"
print(json.dumps(f"{sys.argv[0]} 3" if is_other else "unroll 0"), flush=True)
for turn, _ in enumerate(sys.stdin, 1):
    better = 0.1 * (turn - is_other)
    answer = {"tokens": 600, "seconds": 10 if is_other else 3, "figure": 0.5 + better if rises else 2 - better}
    if is_other:
        answer["compiling"] = 4 if turn == 1 else 0
        answer["seconds"] += answer["compiling"]
    print(json.dumps(answer), flush=True)
"""


@pytest.fixture
def environment(benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment in which the other libraries seem to be installed, and programs of known figures."""
    python = Path("env/bin/python")
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    for name in ("OURS", "KERAS", "FASTAI"):
        Path(name).write_text(FAKE)
    for peer in ("KERAS", "FASTAI"):
        found = dataclasses.replace(getattr(benchmarks.peers, peer), packages=("json", "sys"), program=Path(peer))
        monkeypatch.setattr(benchmarks.peers, peer, found)
    monkeypatch.setattr(benchmarks.peers, "COMMAND", [sys.executable, "OURS"])
    return Path("env")


def test_the_figures_of_known_turns(benchmark: Benchmark, environment: Path) -> None:
    given = ("--rounds", "3", "--environment", str(environment), "--novel", "any.txt", "data.path=reviews.csv")
    found = rows(benchmark, "peers", *given, "--steps", "7", "seed=3")
    models = [("reviews", KERAS), ("novel", KERAS), ("novel, AWD-LSTM", FASTAI)]
    assert [(row["model"], row["way"]) for row in found] == [
        (model, way) for model, peer in models for way in (OURS, peer.name)
    ]
    for ours, other in (found[:2], found[2:4], found[4:]):
        assert (ours["per_second"], other["per_second"]) == (200, 60)
        assert ours["of_other"] == pytest.approx(200 / 60)
        assert other["of_other"] == pytest.approx(60 / 200)
        # Ours is at the other's best after two turns of 3 s, the other after three of 10 s and the 4 s of compiling.
        assert (ours["seconds"], other["seconds"], other["compiling"]) == (6, 34, 4)
        assert "compiling" not in ours
        assert min(ours["mib"], other["mib"]) > 1
    assert [row["figure"] for row in found] == pytest.approx([0.7, 0.7, 1.8, 1.8, 1.8, 1.8])
    caption = json.loads(next(Path("kept").glob("*.json")).read_text())["caption"]
    assert "cpu; unroll 0; KERAS 3; FASTAI 3; validation" in caption
    for name, units, rate in (("KERAS", 256, 5e-3), ("FASTAI", 512, 2e-3)):
        settings, arrays = json.loads(Path(f"{name}.json").read_text())
        assert arrays == ["train_ids.npy", "val_ids.npy"]
        assert (settings["window"], settings["batch_size"], settings["steps"], settings["seed"]) == (40, 64, 7, 3)
        assert (settings["model"]["embedding_size"], settings["encoder"]["hidden_size"]) == (units, 512)
        assert settings["optimizer"]["learning_rate"] == rate


@pytest.mark.usefixtures("benchmark")
def test_keras_gets_the_reviews_of_this_package() -> None:
    config = read(["experiment=textbook_imdb", "data.path=reviews.csv"])
    data, folder = load_data(config), Path("handed")
    folder.mkdir()
    settings = benchmarks.peers.handed_over(config, data, folder)
    assert (settings["model"]["embedding_size"], settings["model"]["head_size"]) == (20, 64)
    assert settings["encoder"]["hidden_size"] == 64
    assert (settings["vocabulary"], settings["classes"], settings["steps"]) == (len(data.vocabulary), 2, None)
    for part in ("train", "val"):
        ids, starts, lengths, labels = (
            np.load(folder / f"{part}_{field}.npy") for field in ("ids", "starts", "lengths", "labels")
        )
        documents = getattr(data, part)
        assert labels.tolist() == documents.labels.tolist()
        for row, (start, length) in enumerate(zip(starts, lengths, strict=True)):
            assert ids[start : start + length].tolist() == documents.document(row).tolist()


@pytest.mark.usefixtures("benchmark")
def test_a_run_that_waits_for_its_turns(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Two of three turns come. An epoch reads all characters but those that fill no lane."""
    settings = ["experiment=textbook_charlm", "data.path=any.txt", "data.batch_size=4", *SMALL]
    config = read([*settings, "trainer.max_epochs=3", "trainer.max_steps=-1"])
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(to_dict(config)) + "\ngo\ngo\n"))
    benchmarks.ours.main()
    version, *answers = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert version == f"unroll {unroll.__version__}"
    lane = (round(0.9 * len(TEXT)) - 1) // 4
    assert [answer["tokens"] for answer in answers] == [4 * lane] * 2
    assert all(answer["seconds"] > 0 for answer in answers)
    assert 0 < answers[1]["figure"] < answers[0]["figure"] < math.log2(30)


def test_what_is_missing_is_named_with_what_to_type(benchmark: Benchmark) -> None:
    done = benchmark("peers", "data.path=reviews.csv", "--novel", "any.txt", "--environment", "none")
    assert done.code == 1
    assert done.one_line().endswith(
        "none: no environment with other libraries; type: python -m venv none && none/bin/pip install keras jax fastai"
    )


def test_a_library_that_is_not_installed_is_left_out(
    benchmark: Benchmark, environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = dataclasses.replace(benchmarks.peers.FASTAI, packages=("no_such_package",))
    monkeypatch.setattr(benchmarks.peers, "FASTAI", absent)
    assert has(environment / "bin/python", ("json",))
    assert not has(environment / "bin/python", ("json", "no_such_package"))
    done = benchmark("peers", "--rounds", "2", "--environment", "env", "--novel", "any.txt", "data.path=reviews.csv")
    assert done.code == 0
    assert done.err.splitlines()[0] == (
        "env has no no_such_package: novel, AWD-LSTM is left out; to have it, type: env/bin/pip install no_such_package"
    )
    assert "AWD-LSTM" not in done.out


def test_what_the_others_do_not_follow_is_refused(benchmark: Benchmark) -> None:
    done = benchmark("peers", "encoder.cell=gru", "data.path=reviews.csv")
    assert done.code == 2
    assert "encoder.cell=gru: other libraries do not follow it" in done.one_line()
    done = benchmark("peers", "--device", "cuda", "data.path=reviews.csv")
    assert done.code == 2


def test_a_program_that_fails_ends_the_measurement_with_its_reason(benchmark: Benchmark, environment: Path) -> None:
    Path("KERAS").write_text("print('\"Keras 3\"', flush=True)\nraise SystemExit('no memory')")
    given = ("--environment", str(environment), "--novel", "any.txt", "data.path=reviews.csv")
    done = benchmark("peers", *given)
    assert done.code == 1
    assert done.err.splitlines()[-1] == "error: KERAS failed: no memory"
