"""The short form of the fault drill; the long one is `make drill`."""

from __future__ import annotations

from pathlib import Path

from tests.faults.drill import drill


def test_nothing_is_lost(tmp_path: Path) -> None:
    outcomes = list(drill(tmp_path))
    assert [what for outcome in outcomes for what in outcome.lost] == []
    assert len(outcomes) == 19
    assert all(outcome.tried for outcome in outcomes)
