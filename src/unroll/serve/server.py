"""The process that serves: its socket, its connections and their time-outs, its end."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from unroll.errors import UserError
from unroll.serve.limits import Limits

NOTHING, HEAD, BODY = "nothing", "head", "body"  # of a request, what is missing


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; port 0 takes any that is free.

    Raises:
        UserError: the port is in use, or the address is none of this machine.
    """
    place = f"{host}:{port}"
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((host, port), family=family, backlog=1024)
        # An answer's head and body are sent separately; without this the body waits 40 ms for the client's ACK. asyncio
        # sets it only where a socket says that it is of TCP, and this one leaves that open. Connections inherit it.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener
    except (socket.gaierror, UnicodeError) as error:
        raise UserError(f"{place}: there is no such address; give another --host") from error
    except (OSError, OverflowError) as error:
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else error
        raise UserError(f"{place}: can't listen there ({reason}); choose another --port or --host") from error


def serve(app: FastAPI, listener: socket.socket, limits: Limits) -> None:
    """Serve until SIGINT or SIGTERM, and finish what has begun; a second signal ends the process at once."""
    config = uvicorn.Config(
        app,
        http=partial(Connection, limits=limits),  # type: ignore[arg-type]  # a class would do, says uvicorn
        ws="none",
        loop="asyncio",
        lifespan="off",
        log_config=None,
        log_level=logging.WARNING,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=limits.idle_seconds,
        timeout_graceful_shutdown=limits.shutdown_seconds,
    )
    Server(config).run([listener])


class Server(uvicorn.Server):
    """A server that ends well: uvicorn would send itself the signal again, and die of it."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.should_exit:
            os._exit(128 + sig)
        self.should_exit = True
        print("unroll: finishing what has begun; a second signal ends at once", file=sys.stderr, flush=True)


def _refusal(status: str, reason: str, *headers: str) -> bytes:
    """Return an answer to a client that no request has come from."""
    body = json.dumps({"detail": reason})
    head = (f"HTTP/1.1 {status}", "Content-Type: application/json", "Connection: close", *headers)
    return "\r\n".join([*head, f"Content-Length: {len(body)}", "", body]).encode()


class Connection(HttpToolsProtocol):
    """A connection that does not wait forever: for a request's head or body to arrive, or for what was sent to be read.

    It reads uvicorn's attributes `connections`, `cycle` and `transport`, which `tests/serve` watches.
    """

    def __init__(self, *arguments: Any, limits: Limits, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._limits = limits
        self._missing: str | None = NOTHING  # what has to arrive of a request, or None
        self._awaited: str | None = None  # for which the time runs
        self._unused_bytes = 0  # that have come since the last of them made a head or a part of a body
        self._arriving: asyncio.TimerHandle | None = None
        self._leaving: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # narrowed by uvicorn
        super().connection_made(transport)
        if len(self.connections) > self._limits.connections:
            reason = "too many connections; come again in a moment"
            transport.write(_refusal("503 Service Unavailable", reason, "Retry-After: 1"))
            transport.close()
            return
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._arriving, self._leaving):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._unused_bytes += len(data)
        super().data_received(data)
        if self._missing is not None and self._unused_bytes > self._limits.header_bytes:
            reason = f"the head must be at most {self._limits.header_bytes:,} bytes"
            self._refuse("431 Request Header Fields Too Large", reason)
        self._watch()

    def on_message_begin(self) -> None:
        self._missing = HEAD
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._missing, self._unused_bytes = BODY, 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unused_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._missing, self._unused_bytes = None, 0
        super().on_message_complete()

    def _watch(self) -> None:
        """Let the time run for what is missing of a request."""
        if self._missing == self._awaited or self.transport.is_closing():
            return
        self._awaited = self._missing
        if self._arriving is not None:
            self._arriving.cancel()
            self._arriving = None
        if self._missing is not None:
            self._arriving = self.loop.call_later(self._seconds, self._too_slow)

    @property
    def _seconds(self) -> float:
        return self._limits.body_seconds if self._missing == BODY else self._limits.header_seconds

    def _too_slow(self) -> None:
        # While an earlier request is answered, what follows it is not read.
        if self.pipeline or (self._missing == HEAD and self._is_answering):
            self._arriving = self.loop.call_later(self._seconds, self._too_slow)
        else:
            what = "body" if self._missing == BODY else "request"
            self._refuse("408 Request Timeout", f"the {what} did not arrive within {self._seconds:g} seconds")

    @property
    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _refuse(self, status: str, reason: str) -> None:
        """Close the connection, with the reason where the client waits for an answer and none has begun."""
        if (self._missing == HEAD and not self._is_answering) or (
            self._missing == BODY and not self.cycle.response_started
        ):
            self.transport.write(_refusal(status, reason))
            self.transport.close()
        else:
            self.transport.abort()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._leaving = self.loop.call_later(self._limits.send_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._leaving is not None:
            self._leaving.cancel()
            self._leaving = None
