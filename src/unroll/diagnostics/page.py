"""Explanations as one HTML page, made from `page.html`. It needs no other file: no script, no picture, no font."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

from unroll.diagnostics.explain import Judgement, Surprise
from unroll.pages import page_template
from unroll.shown import shown

MOST_BITS = 10.0  # the end of the scale of surprise


class Mark(NamedTuple):
    """A token as the page shows it."""

    place: int  # 1, 2, …
    text: str
    known: bool
    value: float  # its effect, in the unit of the note
    strength: float  # from -1 (against the label, or a complete surprise) to 1 (for the label)
    note: str


def page(about: str, found: Sequence[Judgement | Surprise]) -> str:
    """Return the page for one or more explanations; `about` describes the model."""
    template = page_template("diagnostics", moves, shares, surprises, running_mean, look)
    return template.render(about=about, title=found[0].title, found=found, most_bits=MOST_BITS)


def moves(judgement: Judgement) -> list[Mark]:
    """Return the tokens that were read; the effect of each is how it changed the label's probability."""
    after = judgement.prefixes or ()
    points = [100 * (now - before) for before, now in pairwise((judgement.empty, *after))]
    notes = [f"{move:+.1f} points, to {now:.1%}" for move, now in zip(points, after, strict=True)]
    return _marks(judgement, points, notes)


def shares(judgement: Judgement) -> list[Mark]:
    """Return the tokens that were read; the effect of each is its share of the label's log-odds."""
    return _marks(judgement, judgement.attribution, [f"{nats:+.3f} nats" for nats in judgement.attribution])


def _marks(judgement: Judgement, values: Sequence[float], notes: Sequence[str]) -> list[Mark]:
    """Return a mark for each token that was read. The strongest effect has strength 1 or -1."""
    most = max(map(abs, values), default=0.0) or 1.0
    read = zip(judgement.tokens[judgement.read], judgement.known[judgement.read], values, notes, strict=True)
    return [
        Mark(place, token, known, value, value / most, note)
        for place, (token, known, value, note) in enumerate(read, start=1)
    ]


def surprises(surprise: Surprise) -> list[Mark]:
    """Return the tokens; the effect of each is its surprise in bits, and its note says what was expected."""
    marks = [Mark(1, surprise.tokens[0], surprise.known[0], 0.0, 0.0, "the first: nothing stands before it")]
    rest = zip(surprise.tokens[1:], surprise.known[1:], surprise.bits, surprise.expected, strict=True)
    for place, (token, known, bits, expected) in enumerate(rest, start=2):
        likeliest = ", ".join(f"{shown(name)} {probability:.0%}" for name, probability in expected)
        note = f"{bits:.2f} bits ({2**-bits:.1%}); expected {likeliest}"
        marks.append(Mark(place, token, known, bits, -min(1.0, bits / MOST_BITS), note))
    return marks


def running_mean(values: Iterable[float]) -> list[float]:
    """Return, for each value, the mean of all values up to it."""
    return [total / count for count, total in enumerate(accumulate(values), start=1)]


def look(strength: float) -> str:
    """Return the CSS of an effect between -1 and 1: a colour, and a line below (for) or above (against) the text."""
    if abs(strength) < 0.04:
        return "background: none"
    color = "33, 102, 172" if strength > 0 else "224, 130, 20"
    line = max(1, round(5 * abs(strength))) * (-1 if strength > 0 else 1)
    return f"background: rgba({color}, {0.45 * abs(strength):.2f}); box-shadow: inset 0 {line}px rgb({color})"
