"""Requests that wait at the same time, predicted together."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any


class Full(Exception):
    """So many texts wait that another request has to come again later."""


@dataclass(frozen=True)
class _Waiting:
    texts: list[str]
    answer: asyncio.Future[list[Any]]


class Batcher:
    """Collects the texts of requests, and predicts them in one thread, a batch at a time.

    It never waits for more texts: while a batch is computed, others gather and make the next one. So a single request
    is answered as soon as without batches, and the more there are, the larger the batches grow.
    """

    def __init__(self, predict: Callable[[list[str]], Sequence[Any]], batch_texts: int, queued_texts: int) -> None:
        """Set the bounds.

        Args:
            predict: from texts to a prediction for each.
            batch_texts: predicted together, unless one request alone has more.
            queued_texts: that wait or are computed; `Full` is raised for more.
        """
        self._predict, self.batch_texts, self.queued_texts = predict, batch_texts, queued_texts
        self._queue: deque[_Waiting] = deque()
        self._texts = 0  # of the requests that wait for their answer
        self._thread = ThreadPoolExecutor(1, "predict")
        self._work: asyncio.Task[None] | None = None

    def submit(self, texts: list[str]) -> asyncio.Future[list[Any]]:
        """Return what will hold a prediction for each text. If it is cancelled before its turn, it is not computed.

        Raises:
            Full: too many texts wait.
        """
        if self._texts + len(texts) > self.queued_texts:
            raise Full
        waiting = _Waiting(texts, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        if self._work is None or self._work.done():
            self._work = asyncio.create_task(self._answer_all())
        self._texts += len(texts)
        waiting.answer.add_done_callback(lambda _: self._leave(len(texts)))
        return waiting.answer

    def _leave(self, texts: int) -> None:
        self._texts -= texts

    async def _answer_all(self) -> None:
        loop = asyncio.get_running_loop()
        while batch := self._next_batch():
            texts = [text for waiting in batch for text in waiting.texts]
            try:
                answers = iter(await loop.run_in_executor(self._thread, self._predict, texts))
            except Exception as error:  # each request tells its own client
                for waiting in batch:
                    if not waiting.answer.done():
                        waiting.answer.set_exception(error)
                continue
            for waiting in batch:
                own = [next(answers) for _ in waiting.texts]
                if not waiting.answer.done():
                    waiting.answer.set_result(own)

    def _next_batch(self) -> list[_Waiting]:
        """Take requests from the queue, at least one that nobody has cancelled if there is one."""
        batch: list[_Waiting] = []
        texts = 0
        while self._queue and (not batch or texts + len(self._queue[0].texts) <= self.batch_texts):
            waiting = self._queue.popleft()
            if not waiting.answer.done():
                batch.append(waiting)
                texts += len(waiting.texts)
        return batch
