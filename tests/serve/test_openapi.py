"""Requests made up from the OpenAPI description: every answer is one that it describes. `make drill` tries more."""

from __future__ import annotations

from typing import Any

import pytest

from tests.faults.requests import fuzz_requests
from tests.serve.stubs import StubClassifier, StubWriter


@pytest.mark.parametrize("model", [StubClassifier(), StubWriter()], ids=["classifier", "language model"])
def test_requests_made_up_from_the_description(model: Any) -> None:
    outcome = fuzz_requests(model, count=12)
    assert outcome.tried > 20
    assert outcome.lost == []
