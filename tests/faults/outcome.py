"""What came of so many faults."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from unroll.errors import UserError


@dataclass
class Outcome:
    """Counts of one kind of fault."""

    fault: str
    tried: int = 0
    lost: list[str] = field(default_factory=list)  # what went wrong, each time that it did
    notes: dict[str, int] = field(default_factory=dict)
    peak: int | None = None  # MiB by which the process grew at most, where it was measured

    @property
    def survived(self) -> int:
        return self.tried - len(self.lost)

    def note(self, what: str) -> None:
        self.notes[what] = self.notes.get(what, 0) + 1

    @contextmanager
    def trial(self, what: str) -> Iterator[None]:
        """Count one fault. A UserError of one line is the right answer; whatever else is raised is a loss."""
        self.tried += 1
        try:
            yield
        except UserError as error:
            self.note("refused")
            if "\n" in str(error):
                self.lost.append(f"{what}: an error of several lines: {error}")
        except Exception as error:
            self.lost.append(f"{what}: {type(error).__name__}: {error}")
