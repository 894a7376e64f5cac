"""Clients of a server, in a process of their own: `python -m benchmarks.clients PORT CONNECTIONS SECONDS < texts.json`.

Each connection sends a text, waits for the answer, and sends the next. One line of JSON says what came of it.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import statistics
import sys
import time


async def client(
    port: int, requests: itertools.cycle[bytes], end: float, seconds: list[float], failed: list[str]
) -> None:
    """Send requests over one connection until `end`, and note how long each took, or what went wrong."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        while (started := time.perf_counter()) < end:
            writer.write(next(requests))
            head = await reader.readuntil(b"\r\n\r\n")
            fields = dict(line.lower().split(": ", 1) for line in head.decode().split("\r\n")[1:-2])
            await reader.readexactly(int(fields["content-length"]))
            if head.split()[1] == b"200":
                seconds.append(time.perf_counter() - started)
            else:
                failed.append(head.split(b"\r\n")[0].decode())
    except (OSError, EOFError) as error:
        failed.append(repr(error))
    finally:
        writer.close()


async def load(port: int, connections: int, duration: float, texts: list[str]) -> dict[str, object]:
    bodies = [json.dumps({"text": text}).encode() for text in texts]
    head = "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: "
    requests = itertools.cycle([f"{head}{len(body)}\r\n\r\n".encode() + body for body in bodies])
    seconds: list[float] = []
    failed: list[str] = []
    started = time.perf_counter()
    await asyncio.gather(*(client(port, requests, started + duration, seconds, failed) for _ in range(connections)))
    took = time.perf_counter() - started
    hundredths = statistics.quantiles(seconds, n=100) if len(seconds) > 1 else [float("nan")] * 99
    return {
        "requests": len(seconds),
        "per_second": len(seconds) / took,
        "p50_ms": 1e3 * hundredths[49],
        "p99_ms": 1e3 * hundredths[98],
        "failed": len(failed),
    }


if __name__ == "__main__":
    port, connections, duration = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    print(json.dumps(asyncio.run(load(port, connections, duration, json.load(sys.stdin)))))
