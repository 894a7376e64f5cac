"""The routes of a model: a classifier predicts and explains, a language model writes."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import StreamingResponse

from unroll.errors import UserError
from unroll.serve import schemas
from unroll.serve.batching import Batcher
from unroll.serve.explain import influence, pieces_of, to_ask
from unroll.serve.limits import Limits
from unroll.serve.requests import BoundedRoute, while_connected

BUSY = {"Retry-After": "1"}
TOGETHER = 0.04  # seconds of writing that are sent together

# Reasons for a refusal, as OpenAPI shows them.
_REASONS = {
    400: "The body is no JSON in UTF-8",
    408: "The body arrived too slowly",
    413: "The body is too large",
    415: "The body is of another type than JSON",
    422: "The JSON has another form, or a value out of its range",
    500: "The model failed",
    503: "Too many wait; come again after `Retry-After` seconds",
    504: "There was no answer in time",
}
REFUSALS: dict[int | str, dict[str, Any]] = {
    code: {"model": schemas.Problem, "description": reason} for code, reason in _REASONS.items()
}
LINES = "application/jsonl"


def add_classifier(router: APIRouter, model: Any, limits: Limits) -> None:
    """Add the routes of a classifier: `/predict` and `/explain`."""
    batcher = Batcher(model.predict, limits.batch_texts, limits.queued_texts)

    async def ask(request: Request, texts: list[str]) -> list[Any]:
        request.state.texts = len(texts)
        predictions = await while_connected(request, batcher.submit(texts), limits.predict_seconds)
        if not all(math.isfinite(prediction.probability) for prediction in predictions):
            raise UserError("the model's logits are not finite: its training diverged; use another model")
        return predictions

    async def predict(request: Request, body: Any) -> schemas.Predictions:
        """Label one text, or several."""
        texts = body.texts if hasattr(body, "texts") else [body.text]
        predictions = await ask(request, texts)
        return schemas.Predictions(predictions=[schemas.Predicted(**vars(each)) for each in predictions])

    async def explain(request: Request, body: Any) -> schemas.Explanation:
        """Label a text after each of its words, and without each of them."""
        pieces = pieces_of(body.text, limits.explained_pieces)
        predictions = await ask(request, to_ask(body.text, pieces))
        found, count = predictions[len(pieces)], len(pieces)
        return schemas.Explanation(
            prediction=schemas.Predicted(**vars(found)),
            labels=list(model.labels),
            pieces=pieces,
            probabilities=[[each.probabilities[name] for name in model.labels] for each in predictions[: count + 1]],
            influence=influence(
                found.probability, [each.probabilities[found.label] for each in predictions[count + 1 :]]
            ),
        )

    predict.__annotations__["body"] = schemas.texts_body(limits)
    explain.__annotations__["body"] = schemas.explain_body(limits)
    _add(router, "/predict", predict)
    _add(router, "/explain", explain)


def add_language_model(router: APIRouter, model: Any, limits: Limits) -> None:
    """Add the route of a language model: `/generate`."""
    threads = ThreadPoolExecutor(limits.streams, "write")
    free = limits.streams

    async def lines(steps: Iterator[tuple[str, float | None]]) -> AsyncGenerator[str, None]:
        nonlocal free
        if free < 1:
            raise HTTPException(503, f"{limits.streams} texts are being written; come again in a moment", BUSY)
        free -= 1
        end, loop = time.monotonic() + limits.stream_seconds, asyncio.get_running_loop()
        try:
            ended = False
            while not ended:
                written, ended = await loop.run_in_executor(threads, _write, steps)
                yield written
                if not ended and time.monotonic() > end:
                    yield _line(error=f"the text was not complete within {limits.stream_seconds:g} seconds")
                    return
        finally:
            free += 1

    async def generate(request: Request, body: Any) -> StreamingResponse:
        """Write text after a prompt. Each line of the answer is a JSON object: a token with its surprise, as soon as it
        is written; the last line says `"done": true`, or why the text ends there."""
        written = lines(model.stream_with_surprise(**body.model_dump()))
        first = await while_connected(request, written.__anext__(), limits.predict_seconds)
        return StreamingResponse(_chain(first, written), media_type=LINES)

    generate.__annotations__["body"] = schemas.generate_body(limits)
    answer = {"description": "The lines", "content": {LINES: {"schema": schemas.Written.model_json_schema()}}}
    _add(router, "/generate", generate, responses={200: answer}, response_class=StreamingResponse)


def _add(router: APIRouter, path: str, endpoint: Any, responses: Any = None, **described: Any) -> None:
    router.add_api_route(
        path,
        endpoint,
        methods=["POST"],
        responses={**REFUSALS, **(responses or {})},
        route_class_override=BoundedRoute,
        **described,
    )


async def _chain(first: str, rest: AsyncIterator[str]) -> AsyncIterator[str]:
    yield first
    async for each in rest:
        yield each


def _write(steps: Iterator[tuple[str, float | None]]) -> tuple[str, bool]:
    """Return lines of what is written from now on for a short time, and whether the text ends there."""
    end, lines = time.monotonic() + TOGETHER, []
    try:
        for text, bits in steps:
            lines.append(_line(text=text, bits=bits and round(bits, 3)))
            if time.monotonic() > end:
                return "".join(lines), False
        lines.append(_line(done=True))
    except UserError as error:
        lines.append(_line(error=str(error)))
    return "".join(lines), True


def _line(**values: Any) -> str:
    return f"{json.dumps(values)}\n"
