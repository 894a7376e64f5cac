"""A model as an application: its card and page at `/`, its answers, and whether it is well."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.exceptions import HTTPException as AnyHTTPException
from starlette.staticfiles import StaticFiles

from unroll import __version__
from unroll.errors import ConfigError, DataError, UserError
from unroll.serve.answers import BUSY, add_classifier, add_language_model
from unroll.serve.batching import Full
from unroll.serve.card import card
from unroll.serve.limits import Limits
from unroll.serve.log import HEADERS, Logged
from unroll.serve.schemas import TAGS, Health
from unroll.shown import shown
from unroll.tasks.spec import TASKS

STATIC = Path(__file__).parent / "static"

# What a model answers, by the command that uses it.
ROUTES: dict[str, Callable[[APIRouter, Any, Limits], None]] = {
    "predict": add_classifier,
    "generate": add_language_model,
}


def make_app(model: Any, limits: Limits = Limits()) -> FastAPI:
    """Return the application that serves a model from `unroll.load`.

    Raises:
        ConfigError: its kind of task has nothing to serve.
    """
    kind = model.config.kind
    command = TASKS[kind].command
    if command not in ROUTES:
        raise ConfigError(f"a model of {kind} answers neither predict nor generate; there is nothing to serve")
    # The pages that FastAPI has of its own load scripts from elsewhere.
    app = FastAPI(title=f"unroll: {model.config.task}", version=__version__, docs_url=None, redoc_url=None)
    app.state.limits = limits
    ROUTES[command](app.router, model, limits)
    for other in ROUTES.keys() - {command}:
        app.add_api_route(f"/{other}", partial(_of_another_kind, command), methods=["POST"], include_in_schema=False)
    page = card(model, command, limits)

    @app.get("/", response_class=HTMLResponse)
    async def show_card() -> HTMLResponse:
        """Show what the model is, and a page to try it."""
        return HTMLResponse(page)

    @app.get("/healthz")
    async def check_health() -> Health:
        """Say that the server answers."""
        return Health()

    app.mount("/static", StaticFiles(directory=STATIC))
    handlers: dict[Any, Callable[[Request, Any], JSONResponse]] = {
        AnyHTTPException: lambda _, error: _problem(error.status_code, error.detail, error.headers),
        RequestValidationError: lambda _, error: _problem(422, _reason(error)),
        Full: lambda *_: _problem(503, "too many texts wait; come again in a moment", BUSY),
        DataError: lambda _, error: _problem(422, str(error)),
        UserError: lambda _, error: _problem(500, str(error)),
        Exception: lambda *_: _problem(500, "the server failed; its log says why", HEADERS),  # outside of `Logged`
    }
    for kind_of_error, handler in handlers.items():
        app.add_exception_handler(kind_of_error, handler)
    app.add_middleware(Logged)
    return app


async def _of_another_kind(command: str) -> None:
    raise HTTPException(404, f"this model has no such answer; use POST /{command}")


def _problem(status: int, reason: str, headers: Any = None) -> JSONResponse:
    return JSONResponse({"detail": shown(reason)}, status, headers)


def _reason(error: RequestValidationError) -> str:
    """Say what is wrong, and where; only the first of several mistakes."""
    first = error.errors()[0]
    place = ""
    for part in [part for part in first["loc"] if part not in TAGS]:
        place += f"[{part}]" if isinstance(part, int) else f".{shown(part, 40)}" if place else shown(part, 40)
    return f"{place or 'the body'}: {first['msg']}"
