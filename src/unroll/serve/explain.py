"""What moved a prediction, by predictions alone: of the beginnings of a text, and of the text without each part."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from itertools import pairwise

LEAST = 1e-7  # probabilities are kept so far from 0 and 1: in float32 a softmax reaches both


def pieces_of(text: str, most: int) -> list[str]:
    """Cut a text into at most so many pieces of whole words, of equally many words but for the last.

    >>> pieces_of("It was  good.", 3), pieces_of("one two three", 2)
    (['It ', 'was  ', 'good.'], ['one two ', 'three'])
    """
    starts = [match.start() for match in re.finditer(r"\S+", text)]
    if not starts:
        return []
    words = -(-len(starts) // most)
    cuts = [0, *starts[words::words], len(text)]
    return [text[start:end] for start, end in pairwise(cuts)]


def to_ask(text: str, pieces: Sequence[str]) -> list[str]:
    """Return the texts whose predictions explain that of `text`: nothing, the beginnings up to each piece, of which the
    last is the text itself, and the text without each piece."""
    ends = [0]
    for piece in pieces:
        ends.append(ends[-1] + len(piece))
    beginnings = [text[:end] for end in ends[:-1]] + [text]
    without = [text[:start] + text[end:] for start, end in pairwise(ends)]
    return beginnings + without


def influence(probability: float, without: Sequence[float]) -> list[float]:
    """Return how much each piece adds to the log-odds of a label, in nats: those of the text, minus those of the text
    without it (leave one out; Li et al. 2016, arXiv:1612.08220).

    >>> influence(0.75, [0.5])
    [1.0986122886681098]
    """
    return [_log_odds(probability) - _log_odds(each) for each in without]


def _log_odds(probability: float) -> float:
    probability = min(max(probability, LEAST), 1 - LEAST)
    return math.log(probability / (1 - probability))
