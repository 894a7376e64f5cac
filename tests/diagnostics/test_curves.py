"""Curves of runs side by side: the values that were written, and errors in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch.utils.tensorboard import SummaryWriter

from tests.scripts import Shell
from unroll.diagnostics.curves import Curve, draw, read_curves
from unroll.errors import DataError


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    folders = [tmp_path / "first", tmp_path / "second"]
    for factor, folder in enumerate(folders, 1):
        with SummaryWriter(str(folder / "tensorboard")) as writer:
            for step in range(0, 30, 10):
                writer.add_scalar("train/loss", factor * 10.0**-step, step)
                writer.add_scalar("train/accuracy", factor * step / 100, step)
    return folders


def test_curves_are_those_that_were_written(runs: list[Path]) -> None:
    curves = read_curves(runs[1], ["train/accuracy", "train/loss"])
    assert list(curves) == ["train/accuracy", "train/loss"]
    assert curves["train/accuracy"] == Curve([0, 10, 20], pytest.approx([0, 0.2, 0.4]))


def test_one_plot_a_scalar_one_line_a_run(runs: list[Path]) -> None:
    figure = draw({run.name: read_curves(run, ["train/loss", "train/accuracy"]) for run in runs})
    loss, accuracy = figure.axes
    assert (loss.get_yscale(), accuracy.get_yscale()) == ("log", "linear")
    assert [text.get_text() for text in loss.get_legend().get_texts()] == ["first", "second"]
    assert [list(line.get_ydata()) for line in accuracy.lines] == [
        pytest.approx([0, 0.1, 0.2]),
        pytest.approx([0, 0.2, 0.4]),
    ]
    assert accuracy.get_xlabel() == "optimiser steps"


def test_what_is_not_there_is_named(runs: list[Path], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no curve 'val/bpc'; there are train/accuracy, train/loss"):
        read_curves(runs[0], ["val/bpc"])
    with pytest.raises(DataError, match="nowhere: holds no tensorboard/"):
        read_curves(tmp_path / "nowhere", ["val/bpc"])


def test_the_command_writes_a_picture(runs: list[Path], shell: Shell) -> None:
    said = shell("diagnose.py", "curves", *map(str, runs), "--scalar", "train/loss", "--out", "pictures/loss")
    assert said.code == 0, said.err
    assert Path("pictures/loss.png").read_bytes().startswith(b"\x89PNG")
    Path("file").write_text("")
    said = shell("diagnose.py", "curves", *map(str, runs), "--scalar", "train/loss", "--out", "file/loss")
    assert said.code == 1
    assert "file" in said.one_line()


def test_a_run_s_name_is_no_mathematics(runs: list[Path], tmp_path: Path) -> None:
    figure = draw({"$x^2$ and $\\frac{": read_curves(runs[0], ["train/loss"])})
    figure.savefig(tmp_path / "loss.png")  # mathematics of this kind would be an error
