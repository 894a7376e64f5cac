"""The programs of `examples/`, each by the quick command of its docstring: what they compute is what they say."""

from __future__ import annotations

import csv
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from tests.examples.conftest import EXAMPLES, Load, quick
from tests.scripts import ROOT
from unroll.compose import compose


def test_plain_loop(load: Load, capsys: pytest.CaptureFixture[str]) -> None:
    example = load("plain_loop")
    assert example.main(quick(example)) > 0.7  # guessing has 1/3
    difference = re.search(r"logits differ by (\S+)", capsys.readouterr().out)
    assert difference is not None
    assert float(difference[1]) < 1e-5


def test_waves_are_noise_around_their_shapes(load: Load) -> None:
    example = load("plain_loop")
    x, lengths, labels = example.make_waves(3000, torch.Generator().manual_seed(0))
    assert (int(lengths.min()), int(lengths.max())) == (20, 60)
    assert all(not x[row, length:].any() for row, length in enumerate(lengths.tolist()))
    # The variance of a sine is 1/2, of a square wave 1, of a saw tooth 1/3; that of the noise is added.
    for label, variance in enumerate((1 / 2, 1, 1 / 3)):
        rows = [x[row, : lengths[row]] for row in torch.nonzero(labels == label)[:, 0].tolist()]
        assert torch.cat(rows).var().item() == pytest.approx(variance + example.NOISE**2, rel=0.03)


def test_adding_problem(load: Load) -> None:
    example = load("adding_problem")
    curves = example.main(quick(example))
    last = {cell: list(curve.values())[-1] for cell, curve in curves.items()}
    assert max(last["rnn_tanh"], last["lstm"], last["gru"]) < example.BASELINE / 2
    assert last["gru"] < example.BASELINE / 10
    assert Path("runs/adding_problem.png").stat().st_size > 10_000


def test_rows_of_the_adding_problem(load: Load) -> None:
    """Two marks in each row, one in each half; the sum is that of the numbers beside them; 1 is the best constant."""
    example = load("adding_problem")
    x, sums = example.make_rows(5_000, 11, torch.Generator().manual_seed(0))
    marked = [[t for t in range(11) if row[t][1] == 1] for row in x.tolist()]
    assert set(x[:, :, 1].unique().tolist()) == {0.0, 1.0}
    assert {len(places) for places in marked} == {2}
    assert {first for first, _ in marked} == set(range(5))
    assert {second for _, second in marked} == set(range(5, 11))
    expected = [row[first][0] + row[second][0] for row, (first, second) in zip(x.tolist(), marked, strict=True)]
    assert sums.tolist() == pytest.approx(expected, abs=1e-6)
    errors = (sums - 1) ** 2
    assert errors.mean().item() == pytest.approx(example.BASELINE, abs=4 * errors.std().item() / len(errors) ** 0.5)
    assert sums.mean().item() == pytest.approx(1, abs=4 * (1 / 6 / len(sums)) ** 0.5)


def test_temperatures(load: Load, capsys: pytest.CaptureFixture[str]) -> None:
    example = load("temperatures")
    errors = example.main(quick(example))
    assert example.CHANCE < errors["the net"] < 0.95 * min(errors["the same as today"], errors["seasonal mean"])
    assert f"{errors['the net']:.2f}\n" in capsys.readouterr().out
    assert Path("runs/temperatures.png").stat().st_size > 10_000
    assert list(Path("runs/weather").glob("*/tensorboard/events*"))
    with Path("data/weather.csv").open() as file:
        values = [float(row["temperature"]) for row in csv.DictReader(file)]
    tested = values[len(values) * 9 // 10 :]
    steps = np.diff(tested[29:])  # the first 30 days are the first window
    assert errors["the same as today"] == pytest.approx(np.sqrt(np.mean(np.square(steps))), rel=1e-5)


def test_weather_follows_its_equations(load: Load) -> None:
    """Least squares finds the coefficients in the csv, and what it can't explain is chance."""
    example = load("temperatures")
    example.write_weather(Path("weather.csv"), years=40)
    table = np.genfromtxt("weather.csv", delimiter=",", names=True, dtype=None, encoding="utf-8")
    days = table["date"].astype("datetime64[D]")
    assert set(np.diff(days).astype(int).tolist()) == {1}
    cosine = np.cos(2 * np.pi * (np.arange(len(days)) - 19) / 365.25)  # counted from the first day, not by the year
    departure, pressure = table["temperature"] - (10 - 9 * cosine), table["pressure"] - 1013
    terms = [departure[2:-1], cosine[3:] * pressure[2:-1], pressure[1:-2] - pressure[:-3]]
    found, squares, *_ = np.linalg.lstsq(np.stack(terms, axis=1), departure[3:], rcond=None)
    assert found.tolist() == pytest.approx([0.7, -0.06, 0.25], abs=0.02)
    assert np.sqrt(squares[0] / len(departure)) == pytest.approx(example.CHANCE, rel=0.02)


def test_the_seasonal_mean_is_the_wave_in_the_data(load: Load) -> None:
    example = load("temperatures")
    days = np.arange("2001-01-01", "2005-01-01", dtype="datetime64[D]")
    columns = [("date", "U10"), ("temperature", float), ("humidity", float), ("pressure", float)]
    table = np.zeros(len(days), dtype=columns)
    table["date"], table["temperature"] = days.astype(str), 12 - 7 * np.cos(example.season(days) - 0.4)
    said = example.seasonal_mean(example.Windows(table[:1000], 30), example.Windows(table[1000:], 30))
    assert said.numpy() == pytest.approx(table["temperature"][1030:], abs=1e-3)


def test_custom_encoder(load: Load, capsys: pytest.CaptureFixture[str]) -> None:
    example = load("custom_encoder")
    summary = example.main(quick(example))
    assert summary["train"]["epochs"] == 4
    assert summary["metrics"]["test/accuracy"] > 0.95
    out = capsys.readouterr().out
    assert "resuming from step" in out
    assert re.search(r"complaint +0\.\d+ +the soup was fine but the room was awful", out)
    assert re.search(r"praise +0\.\d+ +the soup was awful but the room was fine", out)


def test_the_custom_encoder_is_an_rnn_with_a_diagonal_matrix(load: Load) -> None:
    encoder = load("custom_encoder").IndRNN(3, 5)
    rnn = nn.RNN(3, 5, nonlinearity="relu", batch_first=True)
    rnn.load_state_dict(
        {
            "weight_ih_l0": encoder.project.weight,
            "weight_hh_l0": torch.diag(encoder.recurrent),
            "bias_ih_l0": encoder.project.bias,
            "bias_hh_l0": torch.zeros(5),
        }
    )
    x, lengths, state = torch.randn(4, 7, 3), torch.tensor([3, 7, 1, 5]), torch.rand(1, 4, 5)
    packed, last = rnn(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False), state)
    output, after = encoder(x, lengths, state)
    torch.testing.assert_close(output, pad_packed_sequence(packed, batch_first=True)[0])
    torch.testing.assert_close(after, last)


def test_custom_dataset(load: Load, capsys: pytest.CaptureFixture[str]) -> None:
    example = load("custom_dataset")
    summary = example.main(quick(example))
    with Path("data/shop.csv").open(newline="") as file:
        rows = list(csv.reader(file, delimiter=";"))
    assert (len(rows), rows[0][1:]) == (501, ["What did you think of us?", "Mark (0-2)"])
    assert sum(summary["data"][split] for split in ("train", "val", "test")) == 500
    assert summary["metrics"]["test/accuracy"] > 0.8
    out = capsys.readouterr().out
    assert "by settings: classes 0, 1, 2;" in out
    assert re.search(r"by name: classes bad, fair, good; .* is good\n", out)


def test_the_commands_for_a_shell_say_the_same(load: Load) -> None:
    example = load("custom_dataset")
    lines = [line.strip() for line in example.__doc__.splitlines() if line.startswith("    unroll train ")]
    by_settings, (option, folder, *by_name) = (shlex.split(line)[2:] for line in lines)
    assert (option, ROOT / folder, by_name) == ("--config-dir", EXAMPLES / "conf", ["task=shop"])
    expected = (str(example.TABLE), *example.COLUMNS[1:])
    for config in (compose(by_settings), compose(by_name, ROOT / folder)):
        assert (config.data.path, config.data.text_column, config.data.label_column) == expected


def test_the_table_names_every_example() -> None:
    readme = (EXAMPLES / "README.md").read_text()
    files = {path.name for path in EXAMPLES.iterdir() if path.suffix in (".py", ".ipynb")}
    assert set(re.findall(r"^\| \[`(\S+)`\]\(\1\)", readme, re.MULTILINE)) == files
    assert all((EXAMPLES / target).exists() for target in re.findall(r"\]\(([^)#:]+)\)", readme))
