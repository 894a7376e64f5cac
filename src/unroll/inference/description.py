"""What a loaded model says of itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from unroll.config import EncoderConfig
from unroll.shown import shown

MOST_NAMES, LONGEST = 10, 80  # names in a list; characters of a name or a place


def describe(
    kind: str, parameters: int, encoder: EncoderConfig, data: Mapping[str, Any], lines: Mapping[str, str]
) -> str:
    """Return a model's description: its net, what it was trained on, and further lines by their titles."""
    layers = "1 layer" if encoder.num_layers == 1 else f"{encoder.num_layers} layers"
    directions = "both directions" if encoder.bidirectional else "one direction"
    net = f"{encoder.cell}, {layers} of {encoder.hidden_size:,} units, {directions}, {parameters:,} parameters"
    origin = f"{data.get('origin')} ({data.get('source')})" if data else "nothing yet"
    described = {"trained on": shown(origin, LONGEST), **lines}
    return "\n".join([f"{kind}: {net}", *(f"  {title}: {line}" for title, line in described.items())])


def listed(names: Sequence[str]) -> str:
    """Return the first of many names, and how many more there are."""
    more = f" and {len(names) - MOST_NAMES:,} more" if len(names) > MOST_NAMES else ""
    return ", ".join(shown(name, LONGEST) for name in names[:MOST_NAMES]) + more
