"""`unroll serve`: a model behind HTTP, with a page to try it."""

from __future__ import annotations

import argparse
import logging
import sys

from unroll import runtime
from unroll.cli.model import add_engine, add_model, load_model
from unroll.cli.screen import on_stderr, parser
from unroll.errors import UserError
from unroll.shown import shown

PACKAGES = ("fastapi", "httptools", "pydantic", "pydantic_core", "starlette", "uvicorn")


def main(arguments: list[str]) -> None:
    """Serve until a signal."""
    options = parser(
        "serve",
        "Answer requests with a model: POST /predict, or POST /generate, and a page to try it at /.\n"
        "SIGTERM or Ctrl-C finishes what has begun, and exits with 0; a second one ends at once.",
        ("best.ckpt", "best.ckpt --port 8080", "best.ckpt --host 0.0.0.0"),
    )
    add_model(options)
    add_engine(options)
    options.add_argument(
        "--host", default="127.0.0.1", help="address to listen at (default: 127.0.0.1, this machine alone)"
    )
    options.add_argument("--port", type=_port, default=8000, help="port, 0 for any that is free (default: 8000)")
    given = options.parse_args(arguments)
    try:
        from unroll.serve.app import make_app
        from unroll.serve.limits import Limits
        from unroll.serve.server import listen, serve
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in PACKAGES:
            raise
        raise UserError("unroll serve needs FastAPI and more; install them: pip install 'unroll[serve]'") from error
    listener = listen(given.host, given.port)
    with listener, on_stderr():
        # A core answers requests meanwhile: a kernel that waits for it would be slower than on the others alone.
        threads = max(1, runtime.usable_cores() - 1)
        limits = Limits()
        app = make_app(load_model(given.checkpoint, engine=given.engine, threads=threads), limits)
        runtime.collect_rarely()
        _log_to_stderr()
        host, port = listener.getsockname()[:2]
        if host not in ("127.0.0.1", "::1"):
            print(f"warning: whoever reaches {shown(host)} can use the model; there is no password", file=sys.stderr)
        name = f"[{host}]" if ":" in host else host
        print(f"unroll: {shown(given.checkpoint)} at http://{name}:{port}, Ctrl-C ends", file=sys.stderr, flush=True)
        serve(app, listener, limits)


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**16:
        raise argparse.ArgumentTypeError(f"{text} is no port; there are 0 to 65535")
    return int(text)


def _log_to_stderr() -> None:
    """A line for each request, and what uvicorn has to say; what the line does not show is not looked up."""
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(message)s", level=logging.WARNING)
    logging.getLogger("unroll.serve").setLevel(logging.INFO)
