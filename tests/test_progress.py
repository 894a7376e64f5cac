"""What is shown of long work, in a terminal and without one."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
from rich.console import Console

from unroll import progress
from unroll.progress import begin, clock, display, say, track


class Clock:
    """A clock that goes on by a second at each look."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        self.now += 1
        return self.now


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "time", Clock())


def test_nothing_is_shown_unless_it_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    say("a line")
    assert list(track("abc", "reading", 3)) == ["a", "b", "c"]
    with begin("training", 10) as task:
        task.update(5)
    assert capsys.readouterr() == ("", "")


def test_plain_lines_say_how_far_it_is_and_how_long_it_takes() -> None:
    screen = io.StringIO()
    with display(Console(file=screen, width=60)), begin("training", 100, "batches") as task:
        for done in range(0, 100, 5):
            task.update(done, "loss 0.5")
    lines = screen.getvalue().splitlines()
    # A line every ten seconds; five batches take one.
    assert lines == [
        "training  45 of 100 batches  loss 0.5  0:12 left",  # 10 s for 45 of them, so 12 s for 55
        "training  95 of 100 batches  loss 0.5  0:01 left",
    ]


def test_where_the_end_is_not_known_the_number_is_shown() -> None:
    screen = io.StringIO()
    with display(Console(file=screen, width=60)):
        assert len(list(track(range(25), "reading", unit="texts"))) == 25
    assert screen.getvalue().splitlines() == ["reading  9 texts", "reading  19 texts"]


def test_a_terminal_shows_bars_that_go_away_and_keeps_lines() -> None:
    screen = io.StringIO()
    with display(Console(file=screen, force_terminal=True, width=80)), begin("training", 4) as training:
        training.update(1, "loss 0.5")
        for _ in track(range(2), "validation", 2):
            pass
        say("val/accuracy 0.9")
        training.update(2)
    said = screen.getvalue()
    for part in ("training", "validation", "25%", "loss 0.5", "val/accuracy 0.9", " left"):
        assert part in said
    assert said.rstrip().endswith("\x1b[?25h")  # the cursor is there again


def test_a_task_that_fails_takes_its_bar_away() -> None:
    screen = io.StringIO()

    def failing() -> Iterator[int]:
        yield 1
        raise LookupError

    with display(Console(file=screen, force_terminal=True, width=80)), pytest.raises(LookupError):
        list(track(failing(), "reading"))
    assert screen.getvalue().rstrip().endswith("\x1b[?25h")


def test_control_characters_and_markup_are_shown_as_they_are() -> None:
    for terminal in (False, True):
        screen = io.StringIO()
        with display(Console(file=screen, force_terminal=terminal, width=80, color_system=None)):
            say("a\x1b[31m [bold]b\nc")
            with begin("d\x1b[31m [bold]e", 2) as task:
                task.update(1, "f\x1b[31m")
        said = screen.getvalue()
        assert "a␛[31m [bold]b↵c" in said
        assert "\x1b[31m" not in said
        if terminal:
            assert "d␛[31m [bold]e" in said
            assert "f␛[31m" in said


def test_a_clock() -> None:
    assert [clock(seconds) for seconds in (0, 59.6, 3599, 3600, -1, float("inf"))][:5] == [
        "0:00",
        "1:00",
        "59:59",
        "1:00:00",
        "0:00",
    ]
