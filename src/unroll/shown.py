"""Text from outside, made safe to show: on a terminal, in TensorBoard, on a page."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import PurePath

# Format characters that words and emoji need: the joiner and the non-joiner.
_HARMLESS = "\u200c\u200d"
_SIGNS = {chr(code): chr(0x2400 + code) for code in range(32)} | {"\x7f": "␡", "\n": "↵"}


def shown(text: object, longest: int | None = None, keep: str = "") -> str:
    r"""Return a text with a visible sign for each character that would steer the display: control characters, those
    that turn the direction of writing, and whatever else has no shape of its own.

    >>> shown("a\x1b[31mred\nb\u202ec")
    'a␛[31mred↵b\\u202ec'
    >>> shown("a long name", longest=6)
    'a lon…'

    Args:
        text: anything; what is no string is shown as `str` gives it.
        longest: characters of the result; a longer text is cut and ends in "…".
        keep: characters to leave as they are, such as the newline of a text that is shown in lines.
    """
    given = str(text)
    if longest is not None and len(given) > longest:
        given = f"{given[: longest - 1]}…"
    if given.isascii() and given.isprintable():
        return given
    result = "".join(character if character in keep else _sign(character) for character in given)
    return result if longest is None or len(result) <= longest else f"{result[: longest - 1]}…"


def in_columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a line for each row of cells, every column as wide as its widest cell.

    >>> in_columns([["a", "1"], ["long", "2"]])
    ['a     1', 'long  2']
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _sign(character: str) -> str:
    # Other, separators of lines and paragraphs: control, format, surrogates, private use, not assigned.
    steers = unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") and character not in _HARMLESS
    if not steers:
        return character
    return _SIGNS.get(character) or f"\\u{ord(character):04x}"


def public_origin(source: str, origin: str) -> str:
    """Return where data came from as others may know it: of a path on this machine the last part alone.

    >>> public_origin("local", "/home/me/films.csv"), public_origin("hub", "stanfordnlp/imdb@e6281661ce1c")
    ('films.csv', 'stanfordnlp/imdb@e6281661ce1c')
    """
    return (PurePath(origin).name or origin) if source == "local" else origin
