"""Threads are as many as there are cores to use, or as many as asked for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from unroll import openmp
from unroll.openmp import usable_cores


@pytest.mark.parametrize(
    ("quota", "cores"), [("200000 100000\n", 2), ("150000 100000\n", 2), ("10000 100000\n", 1), ("max 100000\n", 8)]
)
def test_a_container_s_share_is_kept(quota: str, cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    monkeypatch.setattr(openmp, "_QUOTA", tmp_path / "cpu.max")
    assert usable_cores() == 8  # no such file
    (tmp_path / "cpu.max").write_text(quota)
    assert usable_cores() == cores
