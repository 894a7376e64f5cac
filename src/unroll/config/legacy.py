"""Settings under their earlier names: those of checkpoints of format 2, and those that people still type."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

RENAMED = {
    "data.keep": "data.truncate",
    "data.token_budget": "data.max_tokens",
    "data.bucket_noise": "data.padding_noise",
    "optimizer.warmup": "optimizer.warmup_fraction",
}
_PRESETS: dict[str, dict[str, Any]] = {  # what stood in the code of these tasks
    "imdb": {
        "kind": "classification",
        "data": {
            "hub": "stanfordnlp/imdb@e6281661ce1c48d982bc483cf8a173c1bbeb5d31",
            "labels": ["negative", "positive"],
        },
    },
    "mysterious_island": {"kind": "language_modeling", "data": {"gutenberg": 1268}},
}
_CUT = {"start": "end", "end": "start"}  # `keep` named the part that stays


def translate(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a checkpoint of format 2 under today's names. What is not known stays, to be refused."""
    values = copy.deepcopy(dict(values))
    preset = _PRESETS.get(str(values.get("task")), {})
    values = {"kind": preset.get("kind"), **values}
    data = values.setdefault("data", {})
    if isinstance(data, dict):
        data |= preset.get("data", {})
        if "keep" in data:
            data["keep"] = _CUT.get(data["keep"], data["keep"])
            data["max_length"] = data.pop("max_tokens", None)
    for old, new in RENAMED.items():
        group, _, name = old.partition(".")
        if isinstance(values.get(group), dict) and name in values[group]:
            values[group][new.partition(".")[2]] = values[group].pop(name)
    return values
