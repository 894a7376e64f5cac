"""Bodies of requests: bounded while they arrive, and read as strict JSON. Every refusal has its reason."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from email.message import Message
from typing import Any, TypeVar

from fastapi import HTTPException, Request, Response
from fastapi.routing import APIRoute
from pydantic_core import from_json
from starlette.requests import ClientDisconnect

from unroll.serve.limits import Limits

T = TypeVar("T")

GONE = 499  # nginx's code for a client that did not wait; nobody reads it but the log


class BoundedRequest(Request):
    """A request whose body is of JSON, no longer than `body_bytes`, and complete within `body_seconds`."""

    async def body(self) -> bytes:
        if not hasattr(self, "_body"):
            limits: Limits = self.app.state.limits
            content_type = Message()
            content_type["content-type"] = self.headers.get("content-type", "")
            # A page of another site can't send this type without asking first; no answer allows it.
            if content_type.get_content_type() != "application/json":
                raise HTTPException(415, "the body must be JSON; send it with 'Content-Type: application/json'")
            try:
                async with asyncio.timeout(limits.body_seconds):
                    self._body = await self._received(limits.body_bytes)
            except TimeoutError:
                reason = f"the body did not arrive within {limits.body_seconds:g} seconds"
                raise HTTPException(408, reason, {"Connection": "close"}) from None
            except ClientDisconnect:
                raise HTTPException(GONE, "the client has gone") from None
        return self._body

    async def _received(self, most: int) -> bytes:
        """Return the body. A length that the client names is believed only where it is too long."""
        named = self.headers.get("content-length", "")
        body = bytearray()
        if not (named.isdigit() and int(named[:20]) > most):
            async for part in self.stream():
                body += part
                if len(body) > most:
                    break
            else:
                return bytes(body)
        raise HTTPException(413, f"the body must be at most {most:,} bytes; send fewer or shorter texts")

    async def json(self) -> Any:
        try:
            return from_json(await self.body(), allow_inf_nan=False)
        except ValueError as error:  # no UTF-8, half a surrogate pair, NaN, too deep
            raise HTTPException(400, f"the body is no valid JSON in UTF-8: {error}") from None


class BoundedRoute(APIRoute):
    """A route whose requests are bounded."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def bounded(request: Request) -> Response:
            return await handle(BoundedRequest(request.scope, request.receive))

        return bounded


async def while_connected(request: Request, work: Coroutine[Any, Any, T], seconds: float) -> T:
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
