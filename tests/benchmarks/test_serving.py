"""The table of servers: its figures from known measurements, its clients, and the plain endpoint beside it."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

import benchmarks.clients
import benchmarks.serving
from benchmarks.clients import load
from benchmarks.plain_server import make_app
from benchmarks.serving import CONNECTIONS, OURS, PLAIN
from tests.benchmarks.conftest import Benchmark, rows
from tests.serve.running import running


def test_serving(benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours answers 30 a second for each connection, the other 10; both are asked in turns."""
    asked: list[tuple[str, int, int]] = []

    @contextmanager
    def server(command: list[str]) -> Iterator[tuple[int, int]]:
        if command[0] == "benchmarks.plain_server":
            answer = TestClient(make_app(Path(command[1]))).post("/predict", json={"text": "a dull film"}).json()
            assert answer["label"] in ("good", "bad") and 0.5 <= answer["probability"] <= 1
        yield (1 if command[0] == "unroll" else 2), 0

    def ask(server: tuple[int, int], connections: int, seconds: int, texts: list[str]) -> dict[str, Any]:
        name = OURS if server[0] == 1 else PLAIN
        asked.append((name, connections, seconds))
        speed = (30 if name == OURS else 10) * connections
        memory = {"before": len(asked), "after": 100 + len(asked)}
        return {"requests": 5, "per_second": speed, "p50_ms": 1.0, "p99_ms": 2.0, "failed": 1} | memory

    monkeypatch.setattr(benchmarks.serving, "_server", server)
    monkeypatch.setattr(benchmarks.serving, "_ask", ask)
    found = rows(benchmark, "serving", "--steps", "7", "data.path=reviews.csv")
    assert asked[2:] == [(name, count, 7) for count in CONNECTIONS for name in (PLAIN, OURS)]
    assert [row["of_plain"] for row in found] == [1, 3] * 3
    assert (found[1]["failed"], found[1]["requests"], found[1]["before"], found[1]["after"]) == (1, 5, 4, 104)


def test_clients_count_answers_and_failures() -> None:
    with running("classifier") as server:
        threading.Thread(target=server.process.stderr.read, daemon=True).start()  # type: ignore[union-attr]
        found = load(server.port, 3, 0.2, ["good film", "bad"])
        assert found["requests"] > 3 and found["failed"] == 0
        assert 0 < found["p50_ms"] <= found["p99_ms"]
        assert load(server.port, 2, 0.1, ["fail"])["failed"] > 0
    json.dumps(found)


@pytest.mark.parametrize("closes", [True, False])
def test_clients_of_a_server_that_breaks_off_or_says_nothing(closes: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first of two connections is answered once, in two parts; the other never is."""
    monkeypatch.setattr(benchmarks.clients, "PATIENCE", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            (first, _), (second, _) = server.accept(), server.accept()
            first.recv(1000)
            for part in (b"HTTP/1.1 200 OK\r\nContent-", b"Length: 4\r\n\r\nab", b"cd"):
                first.sendall(part)
                time.sleep(0.02)
            if closes:
                first.close()
                second.close()
            held.extend([first, second])

        held: list[socket.socket] = []
        thread = threading.Thread(target=serve)
        thread.start()
        found = load(server.getsockname()[1], 2, 0.2, ["good film"])
        thread.join()
    assert (found["requests"], found["failed"]) == (1, 2)
