"""Earlier names of settings, in checkpoints of format 2 and in what people type."""

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
_PRESETS: dict[str, dict[str, Any]] = {  # these were fixed in the code of the two tasks
    "imdb": {
        "kind": "classification",
        "data": {
            "hub": "stanfordnlp/imdb@e6281661ce1c48d982bc483cf8a173c1bbeb5d31",
            "labels": ["negative", "positive"],
        },
    },
    "mysterious_island": {"kind": "language_modeling", "data": {"gutenberg": 1268}},
}
_CUT = {"start": "end", "end": "start"}  # `data.keep` named the part that was kept, not the part that is cut off


def translate(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a checkpoint of format 2 under today's names. Unknown ones stay, and are refused later."""
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
