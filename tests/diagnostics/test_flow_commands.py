"""`diagnose.py gradient-flow` as a user types it: its judgement, its table, its picture, and its errors."""

from __future__ import annotations

import csv
import io
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.conftest import write_reviews
from tests.scripts import Shell
from tests.settings import from_dict
from unroll.diagnostics.flow_picture import draw
from unroll.diagnostics.gradient_flow import Flow, gradient_flow
from unroll.diagnostics.probe import probe
from unroll.inference.classify import LoadedClassifier
from unroll.inference.generate import LoadedLanguageModel

TEXT = "the sea and the island and the captain " * 12
NOVEL = "task=mysterious_island encoder.hidden_size=6 model.embedding_size=5"


def rows(path: str) -> list[dict[str, str]]:
    with Path(path).open(newline="") as file:
        return list(csv.DictReader(file))


def test_models_stand_side_by_side(shell: Shell) -> None:
    models = [f"{NOVEL} encoder={cell}" for cell in ("rnn", "gru", "lstm")]
    said = shell("diagnose.py", "gradient-flow", *models, "--text", TEXT, "--lags", "30", "--out", "flow")
    assert said.code == 0, said.err
    for model in models:
        assert any(line.startswith(f"{model}: ") for line in said.out.splitlines())
    table = rows("flow.csv")
    assert len(table) == 3 * 2 * 30
    assert {row["quantity"] for row in table} == {"input", "hidden_0"}
    assert Path("flow.png").read_bytes().startswith(b"\x89PNG")


def test_a_model_without_a_loss_at_a_step_is_refused(shell: Shell) -> None:
    said = shell("diagnose.py", "gradient-flow", "task=pretraining", "--text", TEXT)
    assert said.one_line() == (
        "error: task=pretraining: has no loss at a single step; name a classifier or a language model"
    )


def test_a_file_is_no_setting(shell: Shell) -> None:
    Path("01_seed=0").mkdir()
    Path("01_seed=0/best.ckpt").write_bytes(b"none")
    said = shell("diagnose.py", "gradient-flow", "01_seed=0/best.ckpt", "--text", TEXT)
    assert said.one_line().startswith("error: 01_seed=0/best.ckpt: ")


@pytest.mark.parametrize(
    "flow",
    [
        Flow(torch.tensor([1.0, 0.5]), torch.tensor([[2.0, 0.1]])),
        Flow(torch.tensor([1.0, 0.5]), torch.zeros(0, 2)),  # of an encoder without a trace
        Flow(torch.zeros(2), torch.zeros(1, 2)),
        Flow(torch.tensor([1.0, torch.inf]), torch.tensor([[torch.nan, torch.inf]])),
        Flow(torch.rand(1), torch.rand(64, 1)),
    ],
)
@pytest.mark.parametrize("names", [["step 1"], ["task=$x$", "中文", "x" * 1000]])
def test_any_flow_is_drawn_without_a_warning(flow: Flow, names: list[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = draw(dict.fromkeys(names, flow))
        figure.savefig(io.BytesIO(), format="png")
    lines, *maps = figure.axes
    for line in lines.lines:
        norms = flow.inputs.tolist()
        assert line.get_ydata().tolist() == pytest.approx([norm or math.nan for norm in norms], nan_ok=True)
    expected = np.ma.masked_where(~(flow.hidden.numpy() > 0), flow.hidden.numpy())
    for axes in maps[: len(names) if len(flow.hidden) else 0]:
        np.testing.assert_array_equal(axes.images[0].get_array(), expected)


def test_a_window_is_seen_at_its_boundary(shell: Shell) -> None:
    said = shell("diagnose.py", "gradient-flow", NOVEL, "--text", TEXT, "--lags", "30", "--window", "20")
    assert "from lag 10 on it is zero, where the window begins" in said.out
    norms = [float(row["norm"]) for row in rows("gradient_flow.csv") if row["quantity"] == "input"]
    assert all(norms[:10])
    assert not any(norms[10:])


def test_a_text_may_come_from_a_file(shell: Shell) -> None:
    Path("any.txt").write_text(TEXT)
    by_file = shell("diagnose.py", "gradient-flow", NOVEL, "--file", "any.txt", "--lags", "30")
    assert by_file.out == shell("diagnose.py", "gradient-flow", NOVEL, "--text", TEXT, "--lags", "30").out
    assert "none.txt" in shell("diagnose.py", "gradient-flow", NOVEL, "--file", "none.txt").one_line()


def test_a_trained_model_is_looked_into(shell: Shell) -> None:
    write_reviews(Path("reviews.csv"), 200)
    quick = ["trainer.max_steps=2", "model.embedding_size=8", "run_dir=run"]
    assert shell("train.py", "task=imdb", "data.path=reviews.csv", *quick).code == 0
    said = shell("diagnose.py", "gradient-flow", "run/checkpoints/last.ckpt", "--text", "the film was " * 20)
    assert said.code == 1
    assert "the text has 60 tokens, and 100 are needed" in said.one_line()
    said = shell("diagnose.py", "gradient-flow", "run/checkpoints/last.ckpt", "--text", "the film " * 20, "--lags", "9")
    assert said.code == 0, said.err


def test_the_language_models_loss_is_that_of_the_next_character(shell: Shell) -> None:
    """Against autograd over torch.nn: the mean over stretches of the gradient's norm, for each lag."""
    values = {"task": "mysterious_island", "encoder": {"hidden_size": 6, "num_layers": 2}, "model": {}}
    config: Any = from_dict(values)
    model = LoadedLanguageModel.untrained(config, TEXT)
    x, loss = probe(model, TEXT, lags=12)
    network = model.model
    flow = gradient_flow(network.encoder, x, loss)
    lstm = nn.LSTM(128, 6, 2, batch_first=True)
    lstm.load_state_dict(network.encoder.state_dict())
    ids = torch.tensor(model.vocabulary.encode(TEXT))
    starts = np.unique(np.linspace(0, len(ids) - 13, 16).astype(int))
    norms = []
    for start in starts:
        x = network.embedding(ids[start : start + 12])[None].detach().requires_grad_()
        logits = F.linear(lstm(x)[0][0, -1], network.output_weight, network.bias)
        F.cross_entropy(logits, ids[start + 12]).backward()
        norms.append(x.grad[0].norm(dim=1).flip(0))
    torch.testing.assert_close(flow.inputs, torch.stack(norms).mean(0), rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([NOVEL, "--text", "too short"], 1, "the text has 9 characters, and 101 are needed"),
        (["task=mysterious_island encoder.cell=lsmt", "--text", TEXT], 2, "did you mean encoder.cell=lstm?"),
        (["task=mysterious_island encoder=lsmt", "--text", TEXT], 2, "lsmt"),
        (["task='imdb", "--text", TEXT], 2, "No closing quotation"),
        (["none.ckpt", "--text", TEXT], 1, "there is no such checkpoint"),
        ([NOVEL, "--text", TEXT, "--lags", "0"], 2, "--lags 0: must be at least 1"),
        ([NOVEL, "--text", TEXT, "--window", "0"], 2, "--window 0: must be at least 1"),
        ([NOVEL, "--text", TEXT, "--out", "file/flow"], 1, "file"),
        ([NOVEL, "--text", TEXT, "--out", "."], 2, "--out .: is a folder; name a file in it"),
        (["task=imdb encoder=bilstm", "--text", TEXT, "--lags", "9", "--window", "3"], 2, "--window needs one"),
    ],
)
def test_bad_input_is_one_line(shell: Shell, arguments: list[str], code: int, message: str) -> None:
    Path("file").write_text("")
    said = shell("diagnose.py", "gradient-flow", *arguments)
    assert said.code == code, said.err
    assert message in said.one_line()


def test_wrong_usage_exits_with_2(shell: Shell) -> None:
    assert shell("diagnose.py").code == 2
    assert shell("diagnose.py", "gradient-fl0w").code == 2


@pytest.mark.parametrize("pooling", [["last"], ["max", "mean"]])
def test_the_classifiers_loss_is_that_of_the_class_it_leans_to(pooling: list[str]) -> None:
    """As if it judged by the last step alone: every pooling of one step is that step."""
    encoder = {"hidden_size": 4, "bidirectional": False, "cell": "gru"}
    config: Any = from_dict({"encoder": encoder, "model": {"pooling": pooling, "embedding_size": 3}})
    model = LoadedClassifier.untrained(config, TEXT)
    x, loss = probe(model, TEXT, lags=7)
    ids = model.encode(TEXT)
    assert torch.equal(x[-1], model.model.embedding(torch.from_numpy(ids[-7:]).long()))
    gru = nn.GRU(3, 4, batch_first=True)
    gru.load_state_dict(model.model.encoder.state_dict())
    last = gru(x)[0][:, -1]
    expected = -model.model.head(torch.cat([last] * len(pooling), dim=1)).log_softmax(1).amax(1)
    torch.testing.assert_close(loss(last), expected)


def test_a_fresh_model_is_that_of_its_seed() -> None:
    config: Any = from_dict({"seed": 7, "model": {"embedding_size": 3}})
    first, again = (LoadedClassifier.untrained(config, TEXT) for _ in range(2))
    assert torch.equal(first.model.embedding.weight, again.model.embedding.weight)
    assert first.vocabulary.tokens[2] == "the"
    assert first.encode("the unheard-of sea").tolist() == [2, 1, first.vocabulary.tokens.index("sea")]
