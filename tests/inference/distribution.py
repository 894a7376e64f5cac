"""What a sampler should draw from, written by hand."""

from __future__ import annotations

import math


def probabilities(
    logits: list[float], temperature: float, top_k: int | None = None, top_p: float | None = None
) -> list[float]:
    """The distribution to sample from, as the papers have it."""
    order = sorted(range(len(logits)), key=lambda i: -logits[i])[:top_k]
    weights = {i: math.exp((logits[i] - logits[order[0]]) / temperature) for i in order}
    total, so_far, kept = sum(weights.values()), 0.0, []
    for i in order:
        kept.append(i)
        so_far += weights[i] / total
        if so_far >= (top_p or 2):
            break
    mass = sum(weights[i] for i in kept)
    return [weights[i] / mass if i in kept else 0.0 for i in range(len(logits))]
