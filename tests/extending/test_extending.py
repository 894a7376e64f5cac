"""What is made outside of the package: it trains, is resumed, evaluated and used like the package's own.

The files that each of these needs are the price of the change, which CONTRIBUTING.md states.
"""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import pytest
import torch

import unroll
from tests.corpora.hub import Hub
from tests.scripts import ROOT, Shell
from unroll import checkpoint
from unroll.registry import ENCODERS

HERE = ROOT / "tests" / "extending"
SMALL = ["encoder.hidden_size=8", "encoder.bidirectional=false", "model.embedding_size=8", "trainer.max_epochs=2"]


@pytest.fixture(autouse=True)
def _installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that names this folder's encoders and task as its entry points."""
    folder = tmp_path / "site" / "plugins-1.0.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: plugins\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text(
        "[unroll.encoders]\nleaky = tests.extending.leaky:Leaky\nnoisy_gru = tests.extending.noise:NoisyGRU\n"
        "broken = tests.extending.nowhere:Nothing\n"
        "[unroll.tasks]\nnext_value = tests.extending.next_value:SPEC\n"
    )
    monkeypatch.syspath_prepend(tmp_path / "site")


def weights(folder: Path) -> dict[str, torch.Tensor]:
    content = checkpoint.load(folder / "checkpoints" / "last.ckpt")
    return dict(content["state_dict"])


def train_stop_and_resume(shell: Shell, *settings: str) -> Path:
    """Train to the end; and in another folder to a stop in the first epoch, then resumed: the weights are the same."""
    whole, cut = shell.folder / "whole", shell.folder / "cut"
    ends = ("optimizer.schedule=constant", "optimizer.warmup_fraction=0", "checkpoint.every_n_steps=2")
    assert shell("train.py", *settings, *ends, f"run_dir={whole}").err == ""
    assert shell("train.py", *settings, *ends, f"run_dir={cut}", "trainer.max_steps=3").err == ""
    assert shell("train.py", f"resume={cut}", "trainer.max_steps=-1").err == ""
    assert (whole / "checkpoints" / "best.ckpt").exists()
    one, other = weights(whole), weights(cut)
    assert all(torch.equal(one[name], other[name]) for name in one)
    return whole


def test_a_data_set_of_the_hub_by_one_yaml(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trained from a hub on this machine; without that the copy on this disk is evaluated, and predicts."""
    random_ = random.Random(0)
    words = {1: "rude", 2: "fine", 3: "superb"}
    rows = [(f"visit {i}, {words[stars]} shop", stars) for i, stars in enumerate(random_.choices((1, 2, 3), k=200))]
    table = "comment;stars\n" + "".join(f"{comment};{stars - 1}\n" for comment, stars in rows)
    conf, run_dir = ["--config-dir", str(HERE / "conf")], shell.folder / "run"
    settings = [*conf, "task=shop_reviews", *SMALL, "optimizer.learning_rate=0.05", "trainer.max_epochs=6"]
    with Hub({"shop/reviews": {"train.csv": table.encode()}}) as hub:
        hub.patch(monkeypatch, shell.folder / "home")
        done = shell("train.py", *settings, f"run_dir={run_dir}")
        commit = hub.commit("shop/reviews")
    assert done.code == 0, done.err
    assert f"data: hub (shop/reviews@{commit[:12]})" in done.out
    assert "classes: " in done.out
    best = str(run_dir / "checkpoints" / "best.ckpt")
    answer = json.loads(shell("predict.py", best, "--json", "superb shop").out)
    assert answer["label"] == "delighted"
    own = shell.folder / "own.csv"
    own.write_text("comment,stars\nrude shop,0\nfine shop,content\n")
    figures = json.loads(shell("evaluate.py", best, "--data", str(own)).out)
    assert (figures["accuracy"], figures["recall/angry"], figures["precision/delighted"]) == (1.0, 1.0, 0.0)


# Each encoder with one kind of task, or with both if it draws random numbers.
@pytest.mark.parametrize("encoder", [["leaky", "+encoder.options.leak=0.5"], ["noisy_gru"]], ids=" ".join)
def test_an_encoder_of_ones_own_classifies(shell: Shell, reviews: Path, encoder: list[str]) -> None:
    cell, *options = encoder
    settings = [f"data.path={reviews}", f"encoder.cell={cell}", *options, *SMALL, "data.min_freq=1"]
    folder = train_stop_and_resume(shell, "task=classification", *settings, "optimizer.learning_rate=0.03")
    best = str(folder / "checkpoints" / "best.ckpt")
    assert shell("predict.py", best, "a superb film", "--explain", "page.html").code == 0
    assert json.loads(shell("evaluate.py", best).out)["accuracy"] > 0.9


@pytest.mark.parametrize("cell", ["noisy_gru", "min_gru"])
def test_an_encoder_of_ones_own_models_language(shell: Shell, cell: str) -> None:
    text = shell.folder / "text.txt"
    text.write_text("the sea and the island and the captain " * 40)
    settings = [f"data.path={text}", f"encoder.cell={cell}", *SMALL, "data.batch_size=4", "tbptt.window=20"]
    folder = train_stop_and_resume(shell, "task=language_modeling", *settings, "trainer.max_epochs=1")
    best = str(folder / "checkpoints" / "best.ckpt")
    written = [shell("generate.py", best, "--prompt", "the ", "--length", "30").out for _ in range(2)]
    assert written[0] == written[1]
    assert written[0].startswith("the ")
    assert "bpc" in json.loads(shell("evaluate.py", best, "--data", str(text)).out)
    assert shell("diagnose.py", "gradient-flow", best, "--file", str(text), "--lags", "20").code == 0


def test_an_encoder_is_registered_in_a_program(reviews: Path) -> None:
    from tests.extending.leaky import Leaky

    unroll.register_encoder("mine", Leaky)
    assert ENCODERS["mine"] is Leaky
    with pytest.raises(ValueError, match=r"encoder\.cell=lstm is unroll's own"):
        unroll.register_encoder("lstm", Leaky)
    with pytest.raises(TypeError):
        unroll.register_encoder("other", torch.nn.LSTM)  # type: ignore[arg-type]  # which is refused


def test_a_setting_that_the_encoder_lacks_is_refused(shell: Shell, reviews: Path) -> None:
    settings = ["task=classification", f"data.path={reviews}", "encoder.cell=leaky"]
    refused = shell("train.py", *settings)
    assert refused.code == 2
    assert "encoder.bidirectional=true" in refused.one_line()
    refused = shell("train.py", *settings, "encoder.bidirectional=false", "+encoder.options.leek=0.5")
    assert refused.code == 2
    assert "encoder.options.leek" in refused.one_line()


def test_an_entry_that_cannot_be_imported_is_one_line(shell: Shell, reviews: Path) -> None:
    refused = shell("train.py", "task=classification", f"data.path={reviews}", "encoder.cell=broken")
    assert refused.code == 2
    assert "tests.extending.nowhere:Nothing can't be imported" in refused.one_line()


def test_a_checkpoint_names_only_what_is_registered(shell: Shell, reviews: Path) -> None:
    run_dir = shell.folder / "run"
    settings = [f"data.path={reviews}", *SMALL, f"run_dir={run_dir}", "trainer.max_steps=1"]
    assert shell("train.py", "task=classification", *settings).code == 0
    path = run_dir / "checkpoints" / "best.ckpt"
    content = checkpoint.load(path)
    for group, name in (("encoder", "os.system"), (None, "os.system")):
        if group:
            content["config"]["encoder"]["cell"] = name
        else:
            content["config"]["kind"] = name
        checkpoint.save(content, path)
        refused = shell("predict.py", str(path), "a superb film")
        assert refused.code == 1
        assert "must be one of" in refused.one_line()


def test_a_task_of_ones_own(shell: Shell) -> None:
    random_ = random.Random(0)
    values = [math.sin(step / 3) + random_.gauss(0, 0.01) for step in range(400)]
    series = shell.folder / "series.txt"
    series.write_text("\n".join(map(str, values)))
    conf = ["--config-dir", str(HERE / "conf"), "task=next_value", f"data.path={series}"]
    settings = ["encoder.cell=gru", "encoder.hidden_size=8", "trainer.max_epochs=2", "optimizer.learning_rate=0.03"]
    settings.append("trainer.precision=32-true")  # that of evaluation
    folder = train_stop_and_resume(shell, *conf, *settings)
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["task"], summary["data"]["train"]) == ("next_value", 320 - 16)
    best = str(folder / "checkpoints" / "best.ckpt")
    figures = json.loads(shell("evaluate.py", best, "--data", str(series)).out)
    assert figures["loss"] < 0.1  # the series itself has a variance of a half
    assert json.loads(shell("evaluate.py", best).out)["loss"] == pytest.approx(
        summary["metrics"]["test/loss"], rel=1e-4
    )
    assert unroll.load(best).model.encoder.cell == "gru"
