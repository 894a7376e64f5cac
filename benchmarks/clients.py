"""Clients of a server, in a process of their own: `python -m benchmarks.clients PORT CONNECTIONS SECONDS < texts.json`.

Each connection sends a text, waits for the answer, and sends the next. One line of JSON says what came of it. The
clients compute beside the server, so they do as little as they can.
"""

from __future__ import annotations

import itertools
import json
import re
import selectors
import socket
import statistics
import sys
import time
from dataclasses import dataclass, field

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
PATIENCE = 10.0  # seconds without any answer, after which the clients leave


@dataclass
class Client:
    """A connection, and what has come of the answer that it waits for."""

    socket: socket.socket
    started: float = 0.0
    answer: bytes = field(default=b"", repr=False)

    def send(self, request: bytes) -> None:
        self.started, self.answer = time.perf_counter(), b""
        self.socket.sendall(request)

    def receive(self) -> bytes | None:
        """Return the answer's status, None while the answer is not complete.

        Raises:
            OSError: the server has closed the connection.
        """
        received = self.socket.recv(65536)
        if not received:
            raise ConnectionError("the server closed the connection")
        self.answer += received
        head, end, body = self.answer.partition(b"\r\n\r\n")
        length = LENGTH.search(head)
        if not end or length is None or len(body) < int(length[1]):
            return None
        return head.split(b"\r\n", 1)[0]


def load(port: int, connections: int, duration: float, texts: list[str]) -> dict[str, float]:
    """Send texts over some connections for some seconds.

    Returns:
        How many requests were answered, how many a second, how long the middle one and the slowest hundredth took, in
        ms, and how many failed.
    """
    bodies = [json.dumps({"text": text}).encode() for text in texts]
    head = "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: "
    requests = itertools.cycle([f"{head}{len(body)}\r\n\r\n".encode() + body for body in bodies])
    seconds: list[float] = []
    failed = 0
    with selectors.DefaultSelector() as selector:
        started = time.perf_counter()
        for _ in range(connections):
            client = Client(socket.create_connection(("127.0.0.1", port)))
            selector.register(client.socket, selectors.EVENT_READ, client)
            client.send(next(requests))
        while selector.get_map() and (ready := selector.select(PATIENCE)):
            for key, _ in ready:
                client = key.data
                try:
                    status = client.receive()
                    if status is None:
                        continue
                    now = time.perf_counter()
                    if b" 200 " in status:
                        seconds.append(now - client.started)
                    else:
                        failed += 1
                    if now < started + duration:
                        client.send(next(requests))
                        continue
                except OSError:
                    failed += 1
                selector.unregister(client.socket)
                client.socket.close()
        failed += len(selector.get_map())
        took = time.perf_counter() - started
    hundredths = statistics.quantiles(seconds, n=100) if len(seconds) > 1 else [float("nan")] * 99
    return {
        "requests": len(seconds),
        "per_second": len(seconds) / took,
        "p50_ms": 1e3 * hundredths[49],
        "p99_ms": 1e3 * hundredths[98],
        "failed": failed,
    }


if __name__ == "__main__":
    port, connections, duration = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    print(json.dumps(load(port, connections, duration, json.load(sys.stdin))))
