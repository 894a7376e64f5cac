"""A model behind HTTP, on this machine: `unroll serve`, and FastAPI with a call of the model for each request."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.memory import resident
from benchmarks.table import Bars, Column, Row, Table
from unroll import __version__, checkpoint
from unroll.config import ClassificationConfig, to_dict
from unroll.models.classifier import build_classifier
from unroll.tasks.classification_data import ClassificationData
from unroll.tasks.documents import words
from unroll.tasks.spec import load_data
from unroll.training.run import quiet

CONNECTIONS = (1, 8, 64)
PLAIN, OURS = "FastAPI, torch once a request", "unroll serve"
TEXTS = 500  # different ones


def serving(config: ClassificationConfig, seconds: int, rounds: int) -> Table:
    """Measure requests of one validation review each, by 1, 8 and 64 connections that are kept open.

    Args:
        config: of the textbook's classifier; it is untrained.
        seconds: of each cell.
        rounds: turns of which the middle one, by requests a second, is kept.

    Returns:
        A row for each server and number of connections. Both servers run for the whole time, and are asked in turns.
    """
    quiet()
    data: ClassificationData = load_data(config)
    texts = [words(data.val, row, data.codec) for row in range(min(TEXTS, len(data.val)))]
    measured: dict[tuple[str, int], list[Row]] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.ckpt"
        _save(config, data, path)
        commands = {PLAIN: ["benchmarks.plain_server", str(path)], OURS: ["unroll", "serve", str(path), "--port", "0"]}
        with _server(commands[PLAIN]) as plain, _server(commands[OURS]) as ours:
            servers = {PLAIN: plain, OURS: ours}
            for name in servers:
                _ask(servers[name], 8, 1, texts)  # warm
            for connections in CONNECTIONS:
                for _ in range(rounds):
                    for name, server in servers.items():
                        row = _ask(server, connections, seconds, texts)
                        measured.setdefault((name, connections), []).append(row)
    rows: list[Row] = []
    for (name, connections), turns in measured.items():
        middle = sorted(turns, key=lambda turn: turn["per_second"])[len(turns) // 2]
        failed, requests = (sum(turn[key] for turn in turns) for key in ("failed", "requests"))
        memory = {"before": turns[0]["before"], "after": turns[-1]["after"]}
        rows.append(
            {"server": name, "connections": connections} | middle | memory | {"failed": failed, "requests": requests}
        )
    speeds = {(row["server"], row["connections"]): row["per_second"] for row in rows}
    for row in rows:
        row["of_plain"] = row["per_second"] / speeds[PLAIN, row["connections"]]
    columns = {
        "server": Column("server"),
        "connections": Column("connections", "{:,}"),
        "per_second": Column("requests/s", "{:,.0f}"),
        "of_plain": Column("of plain FastAPI's", "{:.1f} ×"),
        "p50_ms": Column("p50, ms", "{:,.1f}"),
        "p99_ms": Column("p99, ms", "{:,.1f}"),
        "failed": Column("failed", "{:,}"),
        "requests": Column("of requests", "{:,}"),
        "before": Column("memory before, MiB", "{:,.0f}"),
        "after": Column("and after", "{:,.0f}"),
    }
    kept = f"the middle of {rounds} rounds" if rounds > 1 else "one round"
    caption = (
        f"One validation review a request, the textbook's model, {seconds} s a cell, {kept}; clients on the same cores"
    )
    return Table("serving", caption, columns, rows, 2, (Bars("requests/s", {"per_second": "requests/s"}),))


def _save(config: ClassificationConfig, data: ClassificationData, path: Path) -> None:
    """Write the checkpoint of an untrained model."""
    weights = build_classifier(config, len(data.vocabulary), len(data.labels)).state_dict()
    content: dict[str, Any] = {
        "format": checkpoint.FORMAT,
        "task": config.task,
        "config": to_dict(config),
        **data.codec.about(),
        "labels": list(data.labels),
        "data": {"source": "local", "origin": "untrained", "fingerprint": "0"},
        "versions": {"unroll": __version__},
        "state_dict": {f"model.{name}": weight for name, weight in weights.items()},
    }
    checkpoint.save(content, path)


@contextmanager
def _server(command: list[str]) -> Iterator[tuple[int, int]]:
    """Start a server by `python -m`, and yield its port and its process's number."""
    with tempfile.TemporaryFile() as log, subprocess.Popen([sys.executable, "-m", *command], stderr=log) as process:
        try:
            yield _port(process, log), process.pid
        finally:
            process.terminate()


def _port(process: subprocess.Popen[bytes], log: Any) -> int:
    """Wait until the log names the port."""
    while True:
        log.seek(0)
        said = log.read().decode()
        if found := re.search(r"http://127\.0\.0\.1:(\d+),", said):
            return int(found[1])
        if process.poll() is not None:
            raise RuntimeError(f"the server ended: {said}")


def _ask(server: tuple[int, int], connections: int, seconds: int, texts: list[str]) -> Row:
    port, process = server
    before = resident(process) / 2**20
    command = [sys.executable, "-m", "benchmarks.clients", str(port), str(connections), str(seconds)]
    done = subprocess.run(command, input=json.dumps(texts), capture_output=True, text=True, check=True)
    row: Row = json.loads(done.stdout)
    return row | {"before": before, "after": resident(process) / 2**20}
