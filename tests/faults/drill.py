"""The fault drill: each kind of fault, many times. It prints what was tried, survived, and lost.

`make drill` takes minutes; the test suite runs a short form. `make drill-long` takes hours: it may be stopped at any
time, and adds up what all its runs have tried.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import unroll
from tests.faults import bombs, damage, fuzz, hostile, kills
from tests.faults.full import full, may_mount
from tests.faults.hosts import hosts, may_make_hosts
from tests.faults.interrupts import interrupts
from tests.faults.outcome import Outcome
from tests.faults.ranks import kill_one_of_two
from tests.faults.requests import fuzz_requests
from tests.faults.strangers import strangers
from tests.faults.sweeps import sweep
from tests.faults.together import together
from unroll import checkpoint

TASKS = ("imdb", "mysterious_island")


class Place:
    """Where the drill works, and the models that it needs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def runs(self) -> dict[str, Path]:
        return {task: kills.undisturbed(task, self.folder) for task in TASKS}

    @cached_property
    def checkpoints(self) -> dict[str, Path]:
        return {task: run / "checkpoints" / "last.ckpt" for task, run in self.runs.items()}

    @cached_property
    def may_mount(self) -> bool:
        return may_mount(self.folder)


@dataclass(frozen=True)
class Kind:
    """A kind of fault, and how often it is tried: in the test suite, by `make drill`, and by `make drill-long`."""

    strike: Callable[[Place, int, int], Iterator[Outcome]]  # (place, count, seed)
    short: int
    usual: int
    long: int
    portion: int
    """How many at a time: what is lost when the long drill is stopped."""
    in_process: bool = False
    """Whether the drill's own process does the work, so that its memory says something."""


def _kills(place: Place, count: int, seed: int) -> Iterator[Outcome]:
    for task in TASKS[:count]:  # the short form kills one
        yield kills.kill(task, place.folder, count, seed)


def _ranks(place: Place, count: int, seed: int) -> Iterator[Outcome]:
    yield kill_one_of_two(place.folder, count, seed)


def _hosts(place: Place, count: int, seed: int) -> Iterator[Outcome]:
    if may_make_hosts():
        yield hosts(place.folder, count, seed)
    else:
        print("two hosts: left out; network namespaces take root's rights", file=sys.stderr, flush=True)


def _damage(place: Place, count: int, seed: int) -> Iterator[Outcome]:
    yield damage.checkpoints(place.folder, count, place.checkpoints["imdb"], seed)
    yield damage.exported(place.folder, count, place.checkpoints["imdb"], seed)
    yield damage.fallbacks(place.folder, count, place.runs["mysterious_island"], seed)
    yield damage.caches(place.folder, count, seed)
    yield damage.settings(place.folder, count, seed)
    for suffix in ("parquet", "csv"):
        yield damage.tables(place.folder, count, suffix, seed)


def _fuzz(place: Place, count: int, seed: int) -> Iterator[Outcome]:
    classifier, language_model = (unroll.load(place.checkpoints[task]) for task in TASKS)
    yield from fuzz.texts(count, classifier, language_model, seed)  # type: ignore[arg-type]  # of one kind each
    yield from fuzz.files(count, place.folder, seed)
    yield fuzz.configs(count, seed)


def _hostile(place: Place, count: int, seed: int) -> Iterator[Outcome]:
    yield hostile.hostile(place.folder, checkpoint.load(place.checkpoints["imdb"]), every=1 if seed else 9)


def _strangers(place: Place, count: int, seed: int) -> Iterator[Outcome]:
    yield strangers(place.folder, count, place.checkpoints["imdb"], place.checkpoints["mysterious_island"], seed)


def _full(place: Place, count: int, seed: int) -> Iterator[Outcome]:
    smallest, step = (150_000, 40_000) if place.may_mount else (20_000, 15_000)
    sizes = [smallest + step * number + 1000 * seed for number in range(count)]
    for task in TASKS[:count]:
        yield full(task, place.folder, sizes, place.may_mount)


def _interrupts(place: Place, count: int, seed: int) -> Iterator[Outcome]:
    yield interrupts(place.folder, count, seed=seed)


def _together(place: Place, count: int, seed: int) -> Iterator[Outcome]:
    yield together(place.folder, count, seed)


def _sweeps(place: Place, count: int, seed: int) -> Iterator[Outcome]:
    yield sweep(place.folder, count, seed)


def _requests(place: Place, count: int, seed: int) -> Iterator[Outcome]:
    for task in TASKS:
        yield fuzz_requests(unroll.load(place.checkpoints[task]), count, seed)


def _bombs(place: Place, count: int, seed: int) -> Iterator[Outcome]:
    yield bombs.bombs(place.folder, [*bombs.BOMBS, *bombs.LARGE][:count])


# The files that expand, and the checkpoints of strangers, are the same each time.
KINDS = {
    "kills": Kind(_kills, 1, 30, 500, 25),
    "ranks": Kind(_ranks, 0, 6, 60, 6),
    "hosts": Kind(_hosts, 0, 2, 8, 2),
    "damage": Kind(_damage, 10, 200, 1700, 100, in_process=True),
    "fuzz": Kind(_fuzz, 30, 1500, 12_500, 500, in_process=True),
    "hostile": Kind(_hostile, 1, 1, 1, 1),
    "bombs": Kind(_bombs, 0, 100, 100, 100),
    "strangers": Kind(_strangers, 1, 20, 500, 25, in_process=True),
    "full": Kind(_full, 1, 12, 48, 12),
    "interrupts": Kind(_interrupts, 0, 200, 400, 50),
    "together": Kind(_together, 0, 10, 50, 5),
    "sweeps": Kind(_sweeps, 0, 1, 10, 1),
    "requests": Kind(_requests, 0, 200, 2000, 100, in_process=True),
}


def drill(folder: Path) -> Iterator[Outcome]:
    """Run the short form."""
    place = Place(folder)
    for kind in KINDS.values():
        if kind.short:  # those without are in the suite anyway
            yield from kind.strike(place, kind.short, 0)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.drill", description=__doc__)
    parser.add_argument("kinds", nargs="*", metavar="KIND", default=[*KINDS], help=f"some of {', '.join(KINDS)}")
    parser.add_argument("--long", type=Path, metavar="FILE", help="the long drill; its results are added to FILE")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder))
        outcomes: list[Outcome] = []
        with suppress(KeyboardInterrupt):
            for name in given.kinds:
                kind = KINDS[name]
                if given.long is None:
                    outcomes += _measured(kind, place, kind.usual, 1)
                else:
                    _long(name, kind, place, given.long)
    if given.long is not None:
        outcomes = read(given.long)
    for line in table(outcomes):
        print(line)
    lost = [what for outcome in outcomes for what in outcome.lost]
    print(*lost[:20], sep="\n")
    return 1 if lost else 0


def _long(name: str, kind: Kind, place: Place, results: Path) -> None:
    """Go through the portions of a kind that no earlier run has done, and note each in the file of results."""
    done = [json.loads(line)["portion"] for line in results.read_text().splitlines()] if results.exists() else []
    for seed in range(1, 1 + -(-kind.long // kind.portion)):
        portion = f"{name} {seed}"
        if portion not in done:
            found = _measured(kind, place, kind.portion, seed)
            with results.open("a") as file:
                print(json.dumps({"portion": portion, "outcomes": [asdict(each) for each in found]}), file=file)


def _measured(kind: Kind, place: Place, count: int, seed: int) -> list[Outcome]:
    found = []
    outcomes = kind.strike(place, count, seed)
    while True:
        before = _reset_peak()
        if (outcome := next(outcomes, None)) is None:
            return found
        if kind.in_process and outcome.peak is None:
            outcome.peak = max(0, _memory("VmHWM") - before)
        print(f"{outcome.fault}: {outcome.survived:,} of {outcome.tried:,}", file=sys.stderr, flush=True)
        found.append(outcome)


def _reset_peak() -> int:
    """Let the most memory that this process has held be what it holds now, and return that, in MiB."""
    Path("/proc/self/clear_refs").write_text("5")
    return _memory("VmRSS")


def _memory(name: str) -> int:
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) // 1024


def read(results: Path) -> list[Outcome]:
    """Return what a file of results holds, added up by fault."""
    sums: dict[str, Outcome] = {}
    for line in results.read_text().splitlines():
        for values in json.loads(line)["outcomes"]:
            found = Outcome(**values)
            total = sums.setdefault(found.fault, Outcome(found.fault))
            total.tried += found.tried
            total.lost += found.lost
            if found.peak is not None:
                total.peak = max(total.peak or 0, found.peak)
            for what, count in found.notes.items():
                total.notes[what] = total.notes.get(what, 0) + count
    return list(sums.values())


def table(outcomes: Sequence[Outcome]) -> list[str]:
    """Return the lines of a Markdown table."""
    lines = ["| fault | tried | survived | lost | peak memory | of which |", "|---|---:|---:|---:|---:|---|"]
    for each in outcomes:
        notes = ", ".join(f"{count:,} {what}" for what, count in each.notes.items())
        peak = "" if each.peak is None else f"{each.peak:,} MiB"
        lines.append(f"| {each.fault} | {each.tried:,} | {each.survived:,} | {len(each.lost):,} | {peak} | {notes} |")
    tried, survived, lost = (sum(n) for n in zip(*((o.tried, o.survived, len(o.lost)) for o in outcomes), strict=True))
    return [*lines, f"| together | {tried:,} | {survived:,} | {lost:,} | | |"]


if __name__ == "__main__":
    sys.exit(main())
