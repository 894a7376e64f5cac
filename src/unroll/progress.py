"""What is shown of long work: a line when it begins, a bar while it lasts.

The rooms tell what they do by `say`, `track` and `begin`. Nothing is shown unless a program asks for it by `display`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar

from unroll.shown import shown

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

T = TypeVar("T")

SECONDS_BETWEEN_LINES, SECONDS_BETWEEN_BARS = 10.0, 0.1  # without a terminal, and in one

_display: ContextVar[Display | None] = ContextVar("display", default=None)


class Display:
    """A console with a line for each task that is under way: bars in a terminal, else a plain line now and then."""

    def __init__(self, console: Console, seconds_between_lines: float = SECONDS_BETWEEN_LINES) -> None:
        self.console, self.seconds_between_lines = console, seconds_between_lines
        self._bars: Progress | None = None  # while a task is under way, in a terminal

    def say(self, line: str) -> None:
        """Show a line, above the bars."""
        self.console.print(shown(line), highlight=False, markup=False, soft_wrap=True)

    def add(self, description: str, total: float | None) -> TaskID:
        """Add a bar, and return its number."""
        if self._bars is None:
            from rich.progress import BarColumn, Progress, TextColumn

            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=24),
                TextColumn("{task.fields[note]}", markup=False),
            )
            # Without a thread that refreshes, and without taking over what goes to a file.
            self._bars = Progress(
                *columns,
                console=self.console,
                auto_refresh=False,
                transient=True,
                redirect_stdout=sys.stdout.isatty(),
                redirect_stderr=sys.stderr.isatty(),
            )
            self._bars.start()
        return self._bars.add_task(description, total=total, note="")

    def update(self, number: TaskID, **fields: Any) -> None:
        """Change a bar."""
        if self._bars is not None:
            self._bars.update(number, refresh=True, **fields)

    def remove(self, number: TaskID) -> None:
        """Take a bar away; the last one takes the terminal's bottom lines with it."""
        if self._bars is not None:
            self._bars.remove_task(number)
            if not self._bars.tasks:
                self._bars.stop()
                self._bars = None


class Task:
    """A piece of work that is under way. As a context manager it ends with its block."""

    def __init__(self, display: Display | None, description: str, total: float | None, unit: str) -> None:
        self._display, self.description, self.total, self.unit = display, description, total, unit
        self._began = self._shown_at = time.perf_counter()
        self._first: float | None = None  # what was done when it began: a run may be resumed
        self._bar: TaskID | None = None
        if display is not None and display.console.is_terminal:
            self._bar = display.add(shown(description), total)

    def update(
        self,
        completed: float,
        note: str = "",
        *,
        description: str | None = None,
        seconds_left: float | None = None,
    ) -> None:
        """Show how much is done.

        Args:
            completed: of `total`, in the same unit.
            note: what else there is to say.
            description: takes the place of the one before.
            seconds_left: where the caller knows better than by what has been done so far.
        """
        if self._display is None:
            return
        self.description = description or self.description
        self._first = completed if self._first is None else self._first
        now = time.perf_counter()
        pause = SECONDS_BETWEEN_BARS if self._bar is not None else self._display.seconds_between_lines
        if now - self._shown_at < pause:
            return
        self._shown_at = now
        left = self._left(completed, now, seconds_left)
        if self._bar is None:
            self._display.say("  ".join(filter(None, (self.description, self._count(completed), note, left))))
            return
        share = f"{completed / self.total:4.0%}" if self.total else self._count(completed)
        text = shown("  ".join(filter(None, (share, left, note))))
        self._display.update(self._bar, completed=completed, description=shown(self.description), note=text)

    def end(self) -> None:
        """Take the bar away."""
        if self._display is not None and self._bar is not None:
            self._display.remove(self._bar)
            self._bar = None

    def __enter__(self) -> Task:
        return self

    def __exit__(self, *error: object) -> None:
        self.end()

    def _count(self, completed: float) -> str:
        if self.unit:
            return f"{completed:,.0f} {'' if self.total is None else f'of {self.total:,.0f} '}{self.unit}"
        return f"{completed / self.total:.0%}" if self.total else ""

    def _left(self, completed: float, now: float, seconds: float | None) -> str:
        done = completed - (self._first or 0)
        if seconds is None and self.total is not None and done > 0:
            seconds = (now - self._began) / done * max(0.0, self.total - completed)
        return "" if seconds is None else f"{clock(seconds)} left"


@contextmanager
def display(console: Console) -> Iterator[Display]:
    """Show on `console` what is done in this block."""
    current = Display(console)
    token = _display.set(current)
    try:
        yield current
    finally:
        _display.reset(token)


def is_shown() -> bool:
    """Return whether anything is shown."""
    return _display.get() is not None


def say(line: str) -> None:
    """Show a line, where anything is shown."""
    current = _display.get()
    if current is not None:
        current.say(line)


def begin(description: str, total: float | None = None, unit: str = "") -> Task:
    """Show a task until its `end`, or the end of a `with` block; its `update` says how far it is.

    >>> with begin("reading", total=2) as task:
    ...     task.update(1)

    Args:
        description: what is done.
        total: how much there is to do; None where nobody knows.
        unit: what `total` and `completed` count, to be shown with their numbers; without it only shares are shown.
    """
    return Task(_display.get(), description, total, unit)


def track(things: Iterable[T], description: str, total: float | None = None, unit: str = "") -> Iterator[T]:
    """Yield `things`, and show how many of them are done."""
    with begin(description, total, unit) as task:
        for done, thing in enumerate(things):
            task.update(done)
            yield thing


def clock(seconds: float) -> str:
    """Return a time as minutes and seconds, with hours where there are any.

    >>> clock(75.2), clock(3661)
    ('1:15', '1:01:01')
    """
    minutes, rest = divmod(max(0, round(min(seconds, sys.maxsize))), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
