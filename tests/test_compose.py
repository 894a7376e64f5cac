"""Settings from files and from the command line: composed, or refused in one line."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.scripts import ROOT
from unroll.cli import main
from unroll.compose import compose
from unroll.errors import ConfigError

DAMAGES = {
    "a bracket left open": b"  bad: [unclosed\n",
    "bytes that are no text": b"\xff\xfe\x00",
    "a list of defaults that is none": b"\ndefaults:\n  - null\n",
}


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    return tmp_path / "conf"


def test_settings_are_those_of_the_files_and_of_the_command_line(conf: Path) -> None:
    config = compose(["task=mysterious_island", "encoder=gru", "seed=3"], conf=conf)
    assert (config.task, config.encoder.cell, config.encoder.hidden_size, config.seed) == (
        "mysterious_island",
        "gru",
        512,
        3,
    )


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_file_is_one_line(conf: Path, damage: bytes) -> None:
    path = conf / "task" / "imdb.yaml"
    path.write_bytes(path.read_bytes() + damage)
    with pytest.raises(ConfigError) as caught:
        compose([], conf=conf)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_file_is_one_line_in_training(
    conf: Path, damage: bytes, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = conf / "task" / "imdb.yaml"
    path.write_bytes(path.read_bytes() + damage)
    monkeypatch.setattr("unroll.compose.CONF", conf)
    assert main(["train", "task=imdb"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1


@pytest.mark.parametrize("settings", [["task=poetry"], ["encoder=lsmt"], ["no.such=1"], ["seed=="], ["seed=-1"]])
def test_settings_that_make_no_sense_are_one_line(conf: Path, settings: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        compose(settings, conf=conf)
    assert "\n" not in str(caught.value)
