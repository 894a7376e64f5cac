"""Saturated gates: their sigmoid is almost 0 or 1, where it is flat and passes little gradient."""

from __future__ import annotations

import torch

from unroll.encoders import Trace

SHUT, OPEN = 0.05, 0.95


def saturation(found: Trace, directions: int) -> dict[str, float]:
    """Return the share of values below `SHUT` or above `OPEN` of each gate in each layer and direction, over the batch
    and all its steps: `forget_gate_l0`, `update_gate_l1_reverse`, … A plain RNN has no gates."""
    shares = {}
    for place, steps in zip(places(len(found.steps), directions), found.steps, strict=True):
        for gate in (name for name in steps[0] if name.endswith("_gate")):
            values = torch.stack([step[gate] for step in steps])
            shares[f"{gate}_{place}"] = float(((values < SHUT) | (values > OPEN)).float().mean())
    return shares


def places(count: int, directions: int) -> list[str]:
    """Return torch.nn's names of layers and directions, in the order of a state: `l0`, `l0_reverse`, `l1`, …"""
    return [f"l{i // directions}" + ("_reverse" if i % directions else "") for i in range(count)]
