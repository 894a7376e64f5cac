"""Settings of small models: nothing is random, scheduled or clipped but where a test asks for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from unroll.tasks import spec

_OPTIMIZER = {"learning_rate": 1e-3, "weight_decay": 0.0, "warmup_fraction": 0.0}
_PLAIN: dict[str, dict[str, Any]] = {
    "classification": {
        "kind": "classification",
        "data": {"batch_size": 64, "max_length": None, "min_freq": 1},
        "encoder": {"bidirectional": False},
        "model": {"dropout": 0.0, "word_dropout": 0.0},
        "optimizer": _OPTIMIZER,
        "trainer": {"gradient_clip_val": None},
    },
    "language_modeling": {
        "kind": "language_modeling",
        "data": {"random_offset": False},
        "encoder": {"hidden_size": 64},
        "model": {"input_dropout": 0.0, "output_dropout": 0.0},
        "optimizer": _OPTIMIZER,
        "trainer": {"gradient_clip_val": None, "max_epochs": 5},
    },
}
_KINDS = {"mysterious_island": "language_modeling", "language_modeling": "language_modeling"}


def from_dict(values: Mapping[str, Any]) -> Any:
    """Return checked settings: plain ones, and over them those given."""
    plain = _PLAIN[_KINDS.get(values.get("task", ""), "classification")]
    return spec.from_dict(_merged(plain, values))


def _merged(plain: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    both = dict(plain) | dict(values)
    for name in plain.keys() & values.keys():
        if isinstance(plain[name], Mapping) and isinstance(values[name], Mapping):
            both[name] = _merged(plain[name], values[name])
    return both
