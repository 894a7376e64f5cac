"""Explanations as one HTML page that needs nothing beside it: no script, no picture, no font from elsewhere.

Strength is shown twice, so that no colour has to be told from another: what speaks for the label is blue and
underlined, what speaks against it is orange and overlined, and the line is as thick as the effect is strong.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from unroll.diagnostics.explain import Judgement, Surprise

STRONGEST = 8  # tokens listed on each side
MOST_BITS = 10.0  # where the scale of surprise ends

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; margin: 2rem auto; max-width: 54rem;
  padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.5rem; } h3 { font-size: 1rem; margin-bottom: .3rem; }
.about, .note, figcaption { color: #555; font-size: .9rem; margin: .2rem 0; }
.text { line-height: 2.3; overflow-wrap: anywhere; }
.text span { unicode-bidi: isolate; padding: .3em .1em; }
.characters { font: 15px/2.2 ui-monospace, monospace; white-space: pre-wrap; }
.characters span { padding: .3em 0; }
.unknown { outline: 1px dashed #777; } .unread { color: #767676; }
table { border-collapse: collapse; font-size: .9rem; display: inline-table; margin-right: 3rem; vertical-align: top; }
th, td { text-align: left; padding: .1rem .9rem .1rem 0; border-bottom: 1px solid #ddd; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
figure { margin: 1rem 0; } svg { max-width: 100%; height: auto; } svg text { font: 12px system-ui, sans-serif; }
"""


def page(about: str, found: Sequence[Judgement | Surprise]) -> str:
    """Return the page of what was found in one text or several; `about` says which model was asked."""
    title = "What moved the prediction" if isinstance(found[0], Judgement) else "What surprised the model"
    sections = [judgement_section(one) if isinstance(one, Judgement) else surprise_section(one) for one in found]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f'<h1>{title}</h1>\n<p class="about">{escape(about)}</p>\n' + "\n".join(sections) + "\n</body>\n</html>\n"
    )


def judgement_section(judgement: Judgement) -> str:
    """Return what moved a classifier's prediction of one text."""
    label = escape(judgement.prediction.label)
    unknown = sum(not known for known in judgement.known[judgement.read])
    count = len(judgement.attribution)
    parts = [
        f"<section>\n<h2>{label}, {judgement.prediction.probability:.1%}</h2>",
        f'<p class="about">{count:,} tokens read, {unknown:,} of them unknown to the model (dashed outline)'
        f"{_unread(judgement)}.</p>",
        f'<p class="about">Legend: {_mark(f"speaks for {judgement.prediction.label}", 1.0)} &ensp; '
        f"{_mark('speaks against it', -1.0)}. The thicker the line, the stronger.</p>",
    ]
    if judgement.prefixes is not None:
        before = (judgement.empty, *judgement.prefixes)
        moves = [100 * (after - earlier) for earlier, after in zip(before, judgement.prefixes, strict=False)]
        told = [f"{move:+.1f} points, to {after:.1%}" for move, after in zip(moves, judgement.prefixes, strict=True)]
        parts += [
            f"<h3>By reading on: how each token changes the probability of {label}</h3>",
            _tokens(judgement, moves, told),
            chart(judgement.prefixes, "tokens read", f"probability of {judgement.prediction.label}", 1.0),
            _strongest(judgement, moves, "points"),
        ]
    told = [f"{value:+.3f} nats" for value in judgement.attribution]
    parts += [
        f"<h3>By gradient &times; input: each token&rsquo;s share in the log-odds of {label}</h3>",
        _tokens(judgement, judgement.attribution, told),
        _strongest(judgement, judgement.attribution, "nats"),
        "</section>",
    ]
    return "\n".join(parts)


def surprise_section(surprise: Surprise) -> str:
    """Return what surprised a language model in one text."""
    spans = [_span(surprise.text[0], 0.0, "the first: nothing stands before it", surprise.known[0])]
    for character, known, bits, expected in zip(
        surprise.text[1:], surprise.known[1:], surprise.bits, surprise.expected, strict=True
    ):
        likeliest = ", ".join(f"{_with_signs(token)} {probability:.0%}" for token, probability in expected)
        told = f"{bits:.2f} bits ({2**-bits:.1%}); expected {likeliest}"
        spans.append(_span(character, -min(1.0, bits / MOST_BITS), told, known))
    means, total = [], 0.0
    for number, bits in enumerate(surprise.bits, 1):
        total += bits
        means.append(total / number)
    steps = " ".join(_mark(f"{bits:g}", -bits / MOST_BITS) for bits in (0.5, 1, 2, 4, 7, MOST_BITS))
    return "\n".join(
        [
            f"<section>\n<h2>{surprise.bits_per_character:.3f} bits per character</h2>",
            f'<p class="about">{len(surprise.bits):,} characters predicted, '
            f"{surprise.known.count(False):,} unknown to the model (dashed outline).</p>",
            f'<p class="about">Legend: surprise in bits, {steps} and more. The thicker the line above a character, the '
            "less the model expected it.</p>",
            f'<p class="text characters">{"".join(spans)}</p>',
            chart(means, "characters read", "bits per character so far", max(means)),
            "</section>",
        ]
    )


def chart(values: Sequence[float], x_label: str, y_label: str, top: float) -> str:
    """Return a line through `values`, at 1, 2, …, as an SVG with axes from 0 to `top`."""
    if not values:
        return ""
    left, width, height, end = 56, 700, 150, max(1, len(values) - 1)
    points = " ".join(
        f"{left + width * index / end:.1f},{10 + height * (1 - value / top):.1f}" for index, value in enumerate(values)
    )
    parts = [
        f'<svg viewBox="0 0 {left + width + 14} {height + 52}" width="770" role="img" aria-label="{escape(y_label)}">'
    ]
    for share in (0.0, 0.5, 1.0):
        y = 10 + height * (1 - share)
        parts.append(f'<path d="M{left} {y}H{left + width}" stroke="#ccc"/>')
        parts.append(f'<text x="{left - 6}" y="{y + 4}" text-anchor="end">{top * share:.2g}</text>')
    for place, anchor in ((1, "start"), (len(values), "end")):
        x = left if place == 1 else left + width
        parts.append(f'<text x="{x}" y="{height + 26}" text-anchor="{anchor}">{place:,}</text>')
    parts.append(f'<text x="{left + width / 2}" y="{height + 44}" text-anchor="middle">{escape(x_label)}</text>')
    parts.append(f'<polyline points="{points}" fill="none" stroke="#1f4e79" stroke-width="1.5"/></svg>')
    return f"<figure><figcaption>{escape(y_label)}</figcaption>{''.join(parts)}</figure>"


def _unread(judgement: Judgement) -> str:
    unread = len(judgement.tokens) - len(judgement.attribution)
    return f"; {unread:,} more are not read (data.max_tokens), in grey" if unread > 0 else ""


def _tokens(judgement: Judgement, effects: Sequence[float], told: Sequence[str]) -> str:
    """The text with each token marked by its effect; the strongest has the full mark."""
    strongest = max((abs(effect) for effect in effects), default=0.0) or 1.0
    start, stop, _ = judgement.read.indices(len(judgement.tokens))
    marked = [
        _span(token, effect / strongest, note, known)
        for token, effect, note, known in zip(
            judgement.tokens[start:stop], effects, told, judgement.known[start:stop], strict=True
        )
    ]
    before, after = (" ".join(judgement.tokens[part]) for part in (slice(0, start), slice(stop, None)))
    unread = [f'<span class="unread">{_visible(part)}</span>' if part else "" for part in (before, after)]
    return (
        f'<p class="text">{" ".join([unread[0], *marked, unread[1]]).strip() or "(no token: read as one unknown)"}</p>'
    )


def _strongest(judgement: Judgement, effects: Sequence[float], unit: str) -> str:
    """Two tables: the tokens that spoke most for the label, and most against it."""
    tokens = judgement.tokens[judgement.read]
    order = sorted(range(len(tokens)), key=lambda place: -abs(effects[place]))
    tables = []
    for sign, heading in ((1, "most for"), (-1, "most against")):
        rows = [place for place in order if sign * effects[place] > 0][:STRONGEST]
        cells = "".join(
            f'<tr><td>{_visible(tokens[place])}</td><td class="number">{place + 1:,}</td>'
            f'<td class="number">{effects[place]:+.2f}</td></tr>'
            for place in rows
        )
        head = f'<tr><th>{heading}</th><th class="number">token no.</th><th class="number">{unit}</th></tr>'
        tables.append(f"<table>{head}{cells}</table>" if rows else "")
    return "".join(tables)


def _span(text: str, strength: float, told: str, known: bool) -> str:
    kind = "" if known else ' class="unknown"'
    note = told if known else f"{told}; unknown to the model"
    line_break = "<br>" if text == "\n" else ""
    return f'<span{kind} style="{_look(strength)}" title="{escape(note)}">{_visible(text)}</span>{line_break}'


def _mark(text: str, strength: float) -> str:
    return f'<span style="{_look(strength)}; padding: .3em .2em">{escape(text)}</span>'


def _look(strength: float) -> str:
    """The style of an effect between -1 and 1: its colour, and a line that says the same."""
    if abs(strength) < 0.04:
        return "background: none"
    color = "33, 102, 172" if strength > 0 else "224, 130, 20"
    line = max(1, round(5 * abs(strength))) * (-1 if strength > 0 else 1)
    return f"background: rgba({color}, {0.45 * abs(strength):.2f}); box-shadow: inset 0 {line}px rgb({color})"


def _visible(text: str) -> str:
    return escape(_with_signs(text))


def _with_signs(text: str) -> str:
    """The text with a sign for each control character (U+2400 and on), a newline's among them."""
    return text.translate({code: chr(0x2400 + code) for code in range(32)} | {10: "↵", 127: "␡"})
