"""Models whose answers are known, with the interface of those from `unroll.load`, and a server of one as a program."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

from unroll.errors import DataError, UserError

NASTY = "</script><img src=x onerror=alert(1)>"
CONTROL = "a\x1b[31m\u202eb"


class StubClassifier:
    """Says "good" with 0.9 if a text has the word, else with 0.3. It waits while `gate` is shut."""

    def __init__(self, labels: tuple[str, str] = ("bad", "good")) -> None:
        self.labels = labels
        self.config = SimpleNamespace(kind="classification", task="films")
        self.data: dict[str, Any] = {"source": "local", "origin": "me/films.csv", "train": 1234}
        self.calls: deque[list[str]] = deque(maxlen=20)
        self.gate = threading.Event()
        self.gate.set()

    def __repr__(self) -> str:
        return "classifier: stub, 1 layer of 2 units\n  trained on: x (local)\n  labels: " + ", ".join(self.labels)

    def predict(self, texts: list[str]) -> list[Any]:
        self.calls.append(texts)
        self.gate.wait(10)
        if "fail" in texts:
            raise UserError("the model failed")
        if "crash" in texts:
            raise ZeroDivisionError
        return [self._predict(text) for text in texts]

    def _predict(self, text: str) -> Any:
        good = float("nan") if text == "nan" else 0.9 if "good" in text else 0.3
        both = dict(zip(self.labels, (1 - good, good), strict=True))
        label = self.labels[good > 0.5]
        words = text.split()
        return SimpleNamespace(
            label=label, probability=both[label], probabilities=both, tokens=len(words), unknown=words.count("???")
        )


class StubWriter:
    """Writes `length` times "ab\\n<", a character a step, each with half a bit of surprise; `pause` seconds apart."""

    def __init__(self, pause: float = 0.0) -> None:
        self.config = SimpleNamespace(kind="language_modeling", task="novel")
        self.data: dict[str, Any] = {}
        self.pause = pause

    def __repr__(self) -> str:
        return "language model: stub, 1 layer of 2 units\n  vocabulary: 4 characters"

    def stream_with_surprise(self, prompt: str, length: int, **rules: Any) -> Iterator[tuple[str, float | None]]:
        if "#" in prompt:
            raise DataError("the prompt's character '#' is not among those that the model knows")
        return self._steps(prompt, length)

    def _steps(self, prompt: str, length: int) -> Iterator[tuple[str, float | None]]:
        for step in range(length):
            if self.pause and prompt != "fast":
                time.sleep(self.pause)
            if prompt == "fail" and step == 3:
                raise UserError("the model's logits are not finite")
            if prompt == "bytes":  # two make a character
                yield "" if step % 2 == 0 else "ä", 0.5
            else:
                yield "ab\n<"[step % 4], None if step == 0 and not prompt else 0.5


def main() -> None:
    """Serve a stub at a free port: `python -m tests.serve.stubs KIND [limit=seconds …]`. Its first line is the port."""
    from unroll.cli.serve import _log_to_stderr
    from unroll.serve.app import make_app
    from unroll.serve.limits import Limits
    from unroll.serve.server import listen, serve

    kind, *given = sys.argv[1:]
    seconds: dict[str, Any] = {name: float(value) for name, _, value in (each.partition("=") for each in given)}
    limits = Limits(**seconds)
    model: Any = StubWriter(0.002) if kind == "writer" else StubClassifier()
    _log_to_stderr()
    with listen("127.0.0.1", 0) as listener:
        # Little is sent that nobody reads: a system keeps megabytes by itself.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**14)
        print(listener.getsockname()[1], os.getpid(), flush=True)
        serve(make_app(model, limits), listener, limits)


if __name__ == "__main__":
    main()
