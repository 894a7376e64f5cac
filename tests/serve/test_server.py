"""A server in a process of its own: how it ends, and what slow, huge, broken and many clients do to it."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import write_reviews
from tests.scripts import Shell
from tests.serve.running import Running, running
from unroll.errors import UserError
from unroll.serve.server import listen


@pytest.fixture(scope="module")
def writer() -> Iterator[Running]:
    """Its bounds are small, so that the tests need not wait."""
    with running(
        "writer", header_seconds=0.5, body_seconds=0.5, send_seconds=0.5, connections=12, length=1e6
    ) as server:
        yield server


def read_all(connection: socket.socket) -> bytes:
    """Read until the server closes."""
    found = b""
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65536):
            found += part
    return found


def post(path: str, body: bytes, *headers: str) -> bytes:
    head = [f"POST {path} HTTP/1.1", "Host: x", "Content-Type: application/json", *headers]
    return "\r\n".join([*head, "", ""]).encode() + body


def test_a_signal_lets_a_begun_text_end_and_nothing_new_begin() -> None:
    with running("writer") as server, server.connect() as connection:
        body = b'{"length": 300}'
        connection.sendall(post("/generate", body, f"Content-Length: {len(body)}"))
        begun = connection.recv(10)
        server.process.send_signal(signal.SIGTERM)
        text = begun + read_all(connection)
        assert text.count(b'"bits"') == 300
        assert b'{"done": true}' in text
        with pytest.raises(ConnectionRefusedError):
            server.connect()
        assert server.process.wait(10) == 0
        said = server.process.stderr.read().splitlines()  # type: ignore[union-attr]
        assert said[0].startswith("unroll: finishing what has begun")
        assert said[1].split()[2:5] == ["POST", "/generate", "200"]
        assert len(said) == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_at_once(number: int) -> None:
    with running("writer") as server, server.connect() as connection:
        body = b'{"length": 20000}'
        connection.sendall(post("/generate", body, f"Content-Length: {len(body)}"))
        connection.recv(10)
        server.process.send_signal(number)
        assert server.process.stderr.readline().startswith("unroll: finishing")  # type: ignore[union-attr]
        server.process.send_signal(number)
        assert server.process.wait(5) == 128 + number


def test_a_text_that_takes_too_long_to_end_is_cut_after_a_signal() -> None:
    with running("writer", shutdown_seconds=0.3) as server, server.connect() as connection:
        connection.sendall(post("/generate", b'{"length": 20000}', "Content-Length: 17"))
        connection.recv(10)
        server.process.send_signal(signal.SIGTERM)
        assert b'"done"' not in read_all(connection)
        assert server.process.wait(5) == 0


def test_a_client_that_sends_slowly_is_cut_off_with_the_reason(writer: Running) -> None:
    begun = (b"", b"GET /healthz HT", b"GET /healthz HTTP/1.1\r\nHost: x\r\nX:")
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(writer.connect()) for _ in begun]
        for connection, part in zip(connections, begun, strict=True):
            connection.sendall(part)
        nothing, *answers = map(read_all, connections)
    assert nothing == b""
    for answer in answers:
        assert answer.startswith(b"HTTP/1.1 408") and b"within 0.5 seconds" in answer
    with writer.connect() as connection:
        connection.sendall(post("/generate", b'{"prom', "Content-Length: 20"))
        answer = read_all(connection)
        assert answer.startswith(b"HTTP/1.1 408")
        assert b"did not arrive within 0.5 seconds" in answer
    with writer.connect() as connection:  # a byte at a time does not help
        connection.sendall(post("/generate", b"", "Transfer-Encoding: chunked"))
        with contextlib.suppress(OSError):
            for _ in range(40):
                connection.sendall(b"1\r\n{\r\n")
                time.sleep(0.02)
        assert read_all(connection).startswith(b"HTTP/1.1 408")
    assert writer.ask("/healthz")[0] == 200


def test_clients_that_go_half_way_or_do_not_read_lose_their_place(writer: Running) -> None:
    """Four texts are written at a time."""
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            connection = stack.enter_context(writer.connect())
            connection.sendall(post("/generate", b'{"length": 20000}', "Content-Length: 17"))
            connection.recv(10)
        status, reason = writer.ask("/generate", {"length": 1})
        assert (status, b"come again" in reason) == (503, True)
    wait_for_a_place(writer)
    with contextlib.ExitStack() as stack:
        unread = [stack.enter_context(socket.socket()) for _ in range(4)]
        for connection in unread:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect(("127.0.0.1", writer.port))
            body = b'{"prompt": "fast", "length": 1000000}'
            connection.sendall(post("/generate", body, f"Content-Length: {len(body)}"))
            connection.recv(10)
        wait_for_a_place(writer)
        assert b'"done"' not in read_all(unread[0])


def wait_for_a_place(server: Running) -> None:
    deadline = time.monotonic() + 20
    while server.ask("/generate", {"length": 1})[0] != 200:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_bodies_of_100_megabytes_need_no_memory(writer: Running) -> None:
    writer.ask("/generate", {"length": 1})
    before = writer.peak()
    megabyte = b"[" * 2**20
    for head, part in (
        ("Content-Length: 104857600", megabyte),
        ("Transfer-Encoding: chunked", b"100000\r\n" + megabyte + b"\r\n"),
    ):
        with writer.connect() as connection:
            connection.sendall(post("/generate", b"", head))
            with contextlib.suppress(OSError):  # it may close before all has arrived
                for _ in range(100):
                    connection.sendall(part)
            assert b" 413 " in connection.recv(65536)
    assert writer.peak() - before < 20
    assert writer.ask("/healthz")[0] == 200


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x00\xa5\x01",
        b"GET / HTTP/9\r\n\r\n",
        b"CONNECT example.org:443 HTTP/1.1\r\nHost: x\r\n\r\n",
        post("/generate", b"", "Content-Length: 2", "Transfer-Encoding: chunked"),
        b"\xff" * 20 + b"\r\n\r\n",
    ],
)
def test_what_is_no_http_is_refused(writer: Running, garbage: bytes) -> None:
    with writer.connect() as connection:
        connection.sendall(garbage)
        assert read_all(connection).startswith(b"HTTP/1.1 400")
    assert writer.ask("/healthz")[0] == 200


def test_headers_without_end_are_refused_and_need_no_memory(writer: Running) -> None:
    """Also those that stand after a body, and what may stand beside the length of a part of it."""
    writer.ask("/generate", {"length": 1})
    before = writer.peak()
    get = b"GET / HTTP/1.1\r\nHost: x\r\n"
    chunked = post("/generate", b"", "Transfer-Encoding: chunked", "Expect: 100-continue")
    for head, begun, part in (
        (get, b"X: ", b"a"),
        (get, b"", b"X: y\r\n"),
        (chunked, b"0\r\n", b"X: y\r\n"),
        (chunked, b"0\r\nX: ", b"y"),
        (chunked, b"2;", b"x"),
    ):
        for size, times in ((2**15, 1), (2**20, 100)):
            with writer.connect() as connection:
                connection.sendall(head)
                if head == chunked:
                    assert connection.recv(100).startswith(b"HTTP/1.1 100")
                with contextlib.suppress(OSError):  # it may close before all has arrived
                    connection.sendall(begun)
                    for _ in range(times):
                        connection.sendall(part * (size // len(part)))
                if times == 1:
                    answer = read_all(connection)
                    assert answer.startswith(b"HTTP/1.1 431")
                    assert b"Retry-After" not in answer  # the same head would be refused again
    assert writer.peak() - before < 20
    assert writer.ask("/healthz")[0] == 200


def test_a_second_request_waits_for_the_answer_of_the_first(writer: Running) -> None:
    """Its beginning does not cut that answer, whatever the second one lacks."""
    body = b'{"length": 300}'
    with writer.connect() as connection:
        connection.sendall(post("/generate", body, f"Content-Length: {len(body)}") + b"GET /healthz HT")
        text = read_all(connection)
    assert text.count(b'"bits"') == 300 and b'{"done": true}' in text
    assert b"HTTP/1.1 408" in text[text.index(b'{"done"') :]
    with writer.connect() as connection:
        health = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
        connection.sendall((health + b"\r\n") * 199 + health + b"Connection: close\r\n\r\n")
        assert read_all(connection).count(b'{"status":"ok"}') == 200


def test_more_connections_than_may_be_are_refused_and_the_others_served(writer: Running) -> None:
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(writer.connect()) for _ in range(40)]
        answers = [read_all(connection) for connection in connections]
    refused = [answer for answer in answers if answer.startswith(b"HTTP/1.1 503")]
    assert len(refused) >= 28
    head, _, body = refused[0].partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}".encode() in head and b"Retry-After: 1" in head
    assert "too many" in json.loads(body)["detail"]
    assert writer.ask("/healthz")[0] == 200


def test_what_is_sent_does_not_wait_for_an_acknowledgement() -> None:
    with listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()) as _:
        accepted, _address = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_port_in_use_and_an_address_of_another_machine_are_one_line(shell: Shell) -> None:
    with listen("127.0.0.1", 0) as listener:
        port = str(listener.getsockname()[1])
        done = shell("serve", "no.ckpt", "--port", port)
        assert done.code == 1
        assert f"127.0.0.1:{port}: can't listen there (Address already in use); choose another" in done.one_line()
    assert "abc is no port" in shell("serve", "no.ckpt", "--port", "abc").err
    for host in ("203.0.113.1", "no such host", "a..b"):
        with pytest.raises(UserError, match="--host"):
            listen(host, 8000)
    done = shell("serve", "no.ckpt", "--port", "0")
    assert (done.code, "no.ckpt" in done.one_line()) == (1, True)
    assert shell("serve", "no.ckpt", "--port", "65536").code == 2


def test_without_the_extra_one_line_says_what_to_install(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("unroll.serve.app", "unroll.serve.server"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "fastapi", None)
    done = shell("serve", "no.ckpt")
    assert done.code == 1
    assert "pip install 'unroll[serve]'" in done.one_line()


def test_a_trained_model_is_served_as_predict_answers(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    from starlette.testclient import TestClient

    import unroll

    small = ("model.embedding_size=8", "encoder.hidden_size=8", "trainer.max_steps=3")
    write_reviews(Path("reviews.csv"), 60)
    assert shell("train", "task=imdb", "data.path=reviews.csv", "run_dir=run", *small).code == 0
    served: list[Any] = []
    monkeypatch.setattr("unroll.serve.server.serve", lambda app, listener, limits: served.append(app))
    said = shell("serve", "run/checkpoints/best.ckpt", "--port", "0", "--host", "0.0.0.0")
    assert said.code == 0, said.err
    assert "warning: whoever reaches 0.0.0.0 can use the model" in said.err
    texts = ["a superb film", "dull", ""]
    answer = TestClient(served[0]).post("/predict", json={"texts": texts}).json()["predictions"]
    for found, expected in zip(answer, unroll.load("run/checkpoints/best.ckpt").predict(texts), strict=True):
        assert found == {**vars(expected), "probability": pytest.approx(expected.probability, abs=1e-6)} | {
            "probabilities": pytest.approx(expected.probabilities, abs=1e-6)
        }
