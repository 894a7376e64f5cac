"""Bodies of requests: bounded while they arrive, and read as strict JSON. Every refusal has its reason."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from fastapi import HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json
from starlette.requests import ClientDisconnect

from unroll.serve.limits import Limits

T = TypeVar("T")

GONE = 499  # nginx's code for a client that did not wait; nobody reads it but the log


class BoundedRoute(APIRoute):
    """A route whose body is JSON, and no longer than `body_bytes`.

    Its endpoint takes the request and the body, and returns a response or a pydantic model to send. FastAPI describes
    the route; it would take as long for a request as HTTP does, for what no route here uses.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        body = TypeAdapter(self.endpoint.__annotations__["body"])

        async def handle(request: Request) -> Response:
            received = await _json(request, request.app.state.limits)
            try:
                value = body.validate_python(received)
            except ValidationError as error:
                raise RequestValidationError(error.errors(include_url=False, include_context=False)) from None
            answer = await self.endpoint(request, value)
            if isinstance(answer, Response):
                return answer
            return Response(answer.model_dump_json(), media_type="application/json")

        return handle


async def _json(request: Request, limits: Limits) -> Any:
    """Return what the body holds. Raises HTTPException with the reason."""
    # A page of another site can't send this type without asking first; no answer allows it.
    kind = request.headers.get("content-type", "").partition(";")[0]
    if kind.strip().lower() != "application/json":
        raise HTTPException(415, "the body must be JSON; send it with 'Content-Type: application/json'")
    try:
        return from_json(await _received(request, limits.body_bytes), allow_inf_nan=False)
    except ClientDisconnect:
        raise HTTPException(GONE, "the client has gone") from None
    except ValueError as error:  # no UTF-8, half a surrogate pair, NaN, too deep
        raise HTTPException(400, f"the body is no valid JSON in UTF-8: {error}") from None


async def _received(request: Request, most: int) -> bytes:
    """Return the body. A length that the client names is believed only where it is too long."""
    named = request.headers.get("content-length", "")
    body = bytearray()
    if not (named.isdigit() and int(named[:20]) > most):
        async for part in request.stream():
            body += part
            if len(body) > most:
                break
        else:
            return bytes(body)
    raise HTTPException(413, f"the body must be at most {most:,} bytes; send fewer or shorter texts")


async def while_connected(request: Request, work: Awaitable[T], seconds: float) -> T:
    """Return what `work` does. It is cancelled when the client goes, or when the time is up.

    Raises:
        HTTPException: one of both.
    """
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({working, leaving}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        if leaving.done():
            raise HTTPException(GONE, "the client has gone")
        raise HTTPException(504, f"there was no answer within {seconds:g} seconds; send fewer or shorter texts")
    finally:
        working.cancel()
        leaving.cancel()


async def _disconnected(request: Request) -> None:
    """Wait until the client has gone. The body is complete."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
