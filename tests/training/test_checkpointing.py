"""Signals and the agreement of all ranks on them."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from unroll import ranks
from unroll.training.callbacks.checkpointing import Checkpointing


@pytest.mark.parametrize("agree", [lambda callback: callback._agree(1), lambda callback: callback.agree()])
def test_a_signal_that_comes_while_ranks_agree_is_found_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, agree: Callable[[Checkpointing], object]
) -> None:
    callback = Checkpointing(tmp_path, "val/loss", "min", None, None)
    largest = ranks.largest

    def meanwhile(values: list[int]) -> list[int]:
        agreed = largest(values)
        callback.received = signal.SIGTERM
        return agreed

    with monkeypatch.context() as patch:
        patch.setattr(ranks, "largest", meanwhile)
        agree(callback)
    assert (callback.received, callback.agreed) == (signal.SIGTERM, 0)
    agree(callback)
    assert callback.agreed == signal.SIGTERM
