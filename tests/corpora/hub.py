"""A server on this machine that answers as the Hugging Face hub does, with any small sets."""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, unquote

import pyarrow as pa
import pyarrow.parquet as pq
import pytest


def parquet(columns: Mapping[str, Sequence[Any]], class_names: Mapping[str, Sequence[str]] | None = None) -> bytes:
    """A parquet file; `class_names` are written into it as `datasets` writes a column's `ClassLabel`."""
    table = pa.table(dict(columns))
    if class_names is not None:
        features = {column: {"names": list(names), "_type": "ClassLabel"} for column, names in class_names.items()}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


class Hub:
    """`with Hub({"me/reviews": {"train.csv": b"text,label\\n..."}}) as hub:` serves a data set at one commit.

    Point a process at it by `environment`, or this one by `patch`. Tests spoil what it says by `sizes` and `sha256s`,
    and what it sends by `sent`, all by path.
    """

    def __init__(self, sets: Mapping[str, Mapping[str, bytes]]) -> None:
        self.sets = {repo: dict(files) for repo, files in sets.items()}
        self.sizes: dict[str, int | None] = {}
        self.sha256s: dict[str, str] = {}
        self.sent: dict[str, bytes] = {}
        self.requests: list[tuple[str, str | None]] = []
        """The path of each request, and the token that it brought."""

    def commit(self, repo: str) -> str:
        """The commit of a set: a function of its files, as in git."""
        return hashlib.sha1(repr(sorted(self.sets[repo].items())).encode()).hexdigest()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def environment(self, home: Path) -> dict[str, str]:
        """The environment of a process whose hub this is."""
        environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        switches = dict.fromkeys(("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_UPDATE_DOWNLOAD_COUNTS"), "0")
        return {**environment, **switches, "HF_ENDPOINT": self.url, "HF_HOME": str(home), "HF_TOKEN": "hf_secret"}

    def patch(self, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
        """Make this the hub of this process, until the test ends."""
        import datasets.config
        import huggingface_hub.constants

        constants: Any = huggingface_hub.constants
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, self.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "ENDPOINT", self.url)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home))
        monkeypatch.setattr(datasets.config, "HF_ENDPOINT", self.url)
        monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(datasets.config, "HF_UPDATE_DOWNLOAD_COUNTS", False)

    def __enter__(self) -> Self:
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, address: str, body: str) -> tuple[Any, str] | None:
        """What is at `address`, and the commit; None if there is nothing."""
        path, _, query = address.partition("?")
        kind, *parts = path.removeprefix("/api").strip("/").split("/")
        repo, rest = "/".join(parts[:2]), [unquote(part) for part in parts[2:]]
        if kind != "datasets" or repo not in self.sets:
            return None
        files, commit = self.sets[repo], self.commit(repo)
        if len(rest) > 1 and rest[1] not in (commit, "main"):
            return None
        where = "/".join(rest[2:])
        entries = [self._entry(name, content) for name, content in files.items()]
        folders = {"/".join(name.split("/")[:i]) for name in files for i in range(1, name.count("/") + 1)}
        all_entries = [*entries, *({"type": "directory", "path": folder, "oid": "0" * 40} for folder in folders)]
        match rest[:1]:
            case [] | ["revision"] if path.startswith("/api/"):
                return {"id": repo, "sha": commit, "siblings": [self._sibling(entry) for entry in entries]}, commit
            case ["tree"] if where in folders | {""}:
                below = [
                    entry for entry in all_entries if f"/{entry['path']}".startswith(f"/{where}/".replace("//", "/"))
                ]
                direct = [entry for entry in below if entry["path"].rpartition("/")[0] == where]
                return below if "recursive=true" in query else direct, commit
            case ["paths-info"]:
                wanted = parse_qs(body).get("paths", []) or json.loads(body)["paths"]
                return [entry for entry in all_entries if entry["path"] in wanted], commit
            case ["resolve"] if where in files:
                return self.sent.get(where, files[where]), commit
        return None

    def _entry(self, name: str, content: bytes) -> dict[str, Any]:
        size = self.sizes.get(name, len(content))
        digest = self.sha256s.get(name, hashlib.sha256(content).hexdigest())
        lfs = {"oid": digest, "sha256": digest, "size": size, "pointerSize": 130}
        entry = {"type": "file", "path": name, "oid": hashlib.sha1(content).hexdigest(), "size": size}
        return {**entry, "lfs": lfs} if name.endswith((".parquet", ".gz")) else entry

    def _sibling(self, entry: dict[str, Any]) -> dict[str, Any]:
        return {"rfilename": entry["path"], "blobId": entry["oid"], "size": entry["size"], "lfs": entry.get("lfs")}


class _Handler(http.server.BaseHTTPRequestHandler):
    hub: Hub

    def do_GET(self) -> None:
        self.hub.requests.append((self.path, self.headers["Authorization"]))
        body = self.rfile.read(int(self.headers["Content-Length"] or 0)).decode()
        found = self.hub.answer(self.path, body)
        content, commit = found if found is not None else (b"", None)
        if not isinstance(content, bytes):
            content = json.dumps(content).encode()
        status, name, value = 200, "X-Repo-Commit", commit or ""
        if commit is None:
            is_repo = any(f"/{repo}" in self.path for repo in self.hub.sets)
            missing = "Revision" if "/revision/" in self.path else "Entry"
            status, name, value = 404, "X-Error-Code", f"{missing if is_repo else 'Repo'}NotFound"
        self.send_response(status)
        self.send_header(name, value)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_HEAD = do_POST = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        pass
