"""The page at `/`: what the model is, and a place to try it. Made from `page.html` once, when the server starts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from unroll.pages import page_template
from unroll.serve.limits import Limits
from unroll.shown import public_origin
from unroll.tasks.spec import TASKS

_SPLITS = {"train": "training", "val": "validation", "test": "test"}


def card(model: Any, command: str, limits: Limits) -> str:
    """Return the page of a model that is used by `predict` or `generate`."""
    kind, _, net = repr(model).splitlines()[0].partition(": ")
    body = {"texts": ["A first text.", "A second."]} if command == "predict" else {"prompt": "The", "length": 200}
    return page_template("serve").render(
        command=command,
        task=model.config.task,
        kind=kind,
        net=net,
        facts=list(_facts(model)),
        labels=getattr(model, "labels", ()),
        limits=limits,
        body=json.dumps(body),
    )


def _facts(model: Any) -> Iterator[tuple[str, str]]:
    """Yield what the model says of itself, a title and a text each, and what it was trained on."""
    data = getattr(model, "data", {})
    origin = str(data.get("origin", "nothing yet"))
    # Who looks at the page has no business with the folders of the machine that trained the model.
    yield "trained on", public_origin(data.get("source", ""), origin)
    unit = TASKS[model.config.kind].examples
    sizes = [f"{data[split]:,} for {what}" for split, what in _SPLITS.items() if data.get(split)]
    if sizes:
        yield unit, ", ".join(sizes)
    if "fingerprint" in data:
        yield "fingerprint", str(data["fingerprint"])[:16]
    for line in repr(model).splitlines()[1:]:
        title, _, text = line.strip().partition(": ")
        if title not in ("trained on", "use"):
            yield title, text
