"""Chunks that several processes work on: the same results, in order, and nobody is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from unroll import runtime
from unroll.errors import DataError, UserError
from unroll.text.codec import count
from unroll.text.workers import HERE, in_order

pytestmark = pytest.mark.skipif(os.name != "posix", reason="other systems use one process")

LINES = [f"line {number} of the text\n" * (1 + 7 * number % 5) for number in range(40)]
PROCESS, DEATH = "__import__('os').getpid()", "__import__('os').kill(__import__('os').getpid(), 9)"


@pytest.fixture(autouse=True)
def _two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "usable_cores", lambda: 2)


@pytest.fixture(autouse=True)
def _no_child_is_left() -> Iterator[None]:
    before = children(os.getpid())
    yield
    assert children(os.getpid()) == before


def children(process: int) -> set[str]:
    found: set[str] = set()
    for task in Path(f"/proc/{process}/task").glob("*/children"):
        with suppress(FileNotFoundError):  # a thread that has ended since
            found.update(task.read_text().split())
    return found


def test_results_are_those_of_one_process_in_order() -> None:
    expected = [count("whitespace", line) for line in LINES]
    assert list(in_order(partial(count, "whitespace"), LINES)) == expected
    assert list(in_order(partial(count, "whitespace"), LINES[:HERE])) == expected[:HERE]
    assert list(in_order(partial(count, "whitespace"), [])) == []


def test_after_the_first_few_others_do_the_work() -> None:
    processes = list(in_order(eval, [PROCESS] * 20))
    assert set(processes[:HERE]) == {os.getpid()}
    assert os.getpid() not in processes[HERE:]
    assert len(set(processes[HERE:])) <= 2


def test_they_import_no_torch() -> None:
    code = "import sys, unroll.text.tokenized, unroll.text.stored; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_chunks_are_read_only_a_little_ahead() -> None:
    read = 0

    def chunks() -> Iterator[str]:
        nonlocal read
        for read in range(1, 101):
            yield str(read)

    for number, result in enumerate(in_order(eval, chunks()), 1):
        assert result == number
        assert read <= number + 4


def test_an_exception_of_the_work_and_of_the_reader_is_raised_here() -> None:
    with pytest.raises(ZeroDivisionError):
        list(in_order(eval, [*["1"] * 10, "1 / 0", *["1"] * 10]))

    def torn() -> Iterator[str]:
        yield from ["1"] * 10
        raise DataError("t.csv: row 11 is malformed; mend it")

    with pytest.raises(DataError, match="row 11 is malformed"):
        list(in_order(eval, torn()))


def test_a_process_that_is_killed_is_told_in_one_line() -> None:
    with pytest.raises(UserError, match=r"^a process that cuts texts into tokens was ended by SIGKILL; free some mem"):
        list(in_order(eval, [*["1"] * 10, DEATH, *["1"] * 100]))


def test_who_stops_early_leaves_no_process() -> None:
    results = in_order(eval, ["1"] * 100)
    assert [next(results) for _ in range(HERE + 2)] == [1] * (HERE + 2)
    results.close()  # type: ignore[attr-defined]


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells which processes there are")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_they_end_with_the_process_that_started_them(number: int) -> None:
    program = (
        "from itertools import repeat\nfrom unroll import runtime\nfrom unroll.text.workers import in_order\n"
        "runtime.usable_cores = lambda: 2\n"
        "for done, _ in enumerate(in_order(eval, repeat('1'))):\n    print(done, flush=True) if done == 20 else None\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        started = children(process.pid)
        process.send_signal(number)
        process.wait()
    assert len(started) == 2
    for _ in range(500):
        if not any(Path(f"/proc/{child}/cmdline").exists() for child in started):
            return
        time.sleep(0.01)
    pytest.fail("they are still there")
