"""Requests that wait together: one call, their own answers, none for who has gone, and a queue that is full at once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from unroll.serve.batching import Batcher, Full


class Counted:
    """Returns each text's length, and keeps what each call was given. It waits while the gate is shut."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.gate = threading.Event()

    def __call__(self, texts: list[str]) -> list[int]:
        self.calls.append(texts)
        self.gate.wait(10)
        if "fail" in texts:
            raise ValueError("no")
        return [*map(len, texts)]


def run(work: Callable[[Batcher, Counted], Coroutine[Any, Any, None]]) -> Counted:
    """Let it work with batches of 4 texts, and a queue of 9."""
    counted = Counted()

    async def main() -> None:
        await work(Batcher(counted, 4, 9), counted)

    asyncio.run(asyncio.wait_for(main(), 10))
    return counted


async def asked(batcher: Batcher, *requests: list[str]) -> list[asyncio.Future[list[Any]]]:
    answers = [batcher.submit(texts) for texts in requests]
    await asyncio.sleep(0.01)
    return answers


def test_what_waits_while_a_batch_is_computed_becomes_the_next_one() -> None:
    async def work(batcher: Batcher, counted: Counted) -> None:
        first = await asked(batcher, ["a"])
        others = await asked(batcher, ["bb"], ["ccc", "d"], ["eeee"], ["f", "g"])
        counted.gate.set()
        assert await asyncio.gather(*first, *others) == [[1], [2], [3, 1], [4], [1, 1]]

    assert run(work).calls == [["a"], ["bb", "ccc", "d", "eeee"], ["f", "g"]]


def test_a_request_with_more_texts_than_a_batch_goes_alone() -> None:
    async def work(batcher: Batcher, counted: Counted) -> None:
        answers = await asked(batcher, ["a"], ["b"] * 6, ["c"])
        counted.gate.set()
        await asyncio.gather(*answers)

    assert [len(call) for call in run(work).calls] == [1, 6, 1]


def test_a_full_queue_refuses_at_once_and_has_room_again_when_somebody_leaves() -> None:
    async def work(batcher: Batcher, counted: Counted) -> None:
        first, second = await asked(batcher, ["a"] * 5, ["b"] * 4)
        with pytest.raises(Full):
            batcher.submit(["c"])
        second.cancel()
        await asyncio.sleep(0)
        (third,) = await asked(batcher, ["d"] * 4)
        counted.gate.set()
        assert await first == [1] * 5 and await third == [1] * 4
        assert second.cancelled()

    assert run(work).calls == [["a"] * 5, ["d"] * 4]  # who was cancelled before its turn was not computed


def test_who_leaves_while_it_is_computed_disturbs_nobody() -> None:
    async def work(batcher: Batcher, counted: Counted) -> None:
        answers = await asked(batcher, ["x"])
        answers += await asked(batcher, ["a"], ["bb"])
        counted.gate.set()
        answers[1].cancel()
        assert await answers[2] == [2]
        assert await answers[0] == [1]

    run(work)


def test_a_failure_is_told_to_those_of_its_batch_alone() -> None:
    async def work(batcher: Batcher, counted: Counted) -> None:
        answers = await asked(batcher, ["a"])
        answers += await asked(batcher, ["fail"], ["b"])
        counted.gate.set()
        assert await answers[0] == [1]
        for answer in answers[1:]:
            with pytest.raises(ValueError, match="no"):
                await answer
        assert await batcher.submit(["ccc"]) == [3]

    run(work)
