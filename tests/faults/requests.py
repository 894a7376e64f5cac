"""Requests that schemathesis makes up from a server's OpenAPI description, right ones and wrong ones."""

from __future__ import annotations

from typing import Any

import hypothesis
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    positive_data_acceptance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from tests.faults.outcome import Outcome
from unroll.serve.app import make_app
from unroll.serve.limits import Limits

CHECKS = [
    schemathesis.checks.not_a_server_error,
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
]
LIMITS = Limits(length=50, prompt_characters=100, text_characters=100, explained_characters=100)


def fuzz_requests(model: Any, count: int, seed: int = 0) -> Outcome:
    """Send `count` requests of either sort to each operation of a model's server, in this process."""
    schema = schemathesis.openapi.from_asgi("/openapi.json", make_app(model, LIMITS))
    outcome = Outcome("requests made up from OpenAPI")
    for found in schema.get_all_operations():
        operation: Any = found.ok()  # type: ignore[union-attr]  # or an error, which has no such method
        _send(outcome, operation, GenerationMode.POSITIVE, count, seed)
        if operation.method == "post":  # nothing of the others can be wrong
            _send(outcome, operation, GenerationMode.NEGATIVE, count, seed)
    return outcome


def _send(outcome: Outcome, operation: Any, mode: GenerationMode, count: int, seed: int) -> None:
    # A prompt of the right form may hold a character that the model does not know.
    checks = CHECKS if operation.path == "/generate" else [*CHECKS, positive_data_acceptance]

    @hypothesis.seed(seed)
    @settings(max_examples=count, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
    def run(case: Any) -> None:
        with outcome.trial(f"{operation.label} {case.body!r:.200}"):
            case.call_and_validate(checks=checks)

    run()
