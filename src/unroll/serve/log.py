"""A line for each request, and the headers that every answer has."""

from __future__ import annotations

import logging
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from unroll.shown import shown

LOG = logging.getLogger("unroll.serve")

# A page of this server takes nothing from elsewhere, runs no script but its own files, and stands in no other page.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
_HEADERS = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]


class Logged:
    """Logs method, path, status, milliseconds and number of texts of each request; never a text."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *_HEADERS]
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except Exception:
            status = status or 500  # which is answered further out
            raise
        finally:
            texts = scope.get("state", {}).get("texts")
            LOG.info(
                "%s %s %s %.1f ms%s",
                scope["method"],
                shown(scope["path"], 80),
                status or "-",
                1e3 * (time.perf_counter() - started),
                "" if texts is None else f" {texts:,} texts",
            )
