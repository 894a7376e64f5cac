"""What all pictures share: their size, and how they show texts from outside."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from unroll.durable import replacing
from unroll.shown import shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# TensorBoard first shows a picture at most 350 pixels wide and 215 high. At this size, type of 10 points is then 12
# pixels high, and of 8 points 9. The dots are for those who look closer.
WIDTH, HEIGHT, DOTS_PER_INCH = 4.2, 2.5, 200


def new_figure(width: float = WIDTH, height: float = HEIGHT) -> Figure:
    """Return an empty figure of a size in inches, whose parts make room for each other."""
    from matplotlib.figure import Figure

    # Not pyplot's figure, which pyplot would keep until the process ends.
    return Figure(figsize=(width, height), dpi=DOTS_PER_INCH, layout="constrained")


def write_png(figure: Figure, path: Path) -> None:
    """Replace the file by a picture."""
    with replacing(path) as file:
        figure.savefig(file, format="png")


def drawable(texts: Iterable[object], longest: int = 32) -> tuple[list[str], list[str]]:
    r"""Return texts as matplotlib can draw them, and the font families to draw them with.

    A character that no installed font has, or that steers the display, is escaped. A `$` starts no mathematics.

    >>> drawable(["a$b$", "a\x1b[31m"])
    (['a\\$b\\$', 'a\\x1b[31m'], ['sans-serif'])

    Args:
        texts: anything; what is no string is drawn as `str` gives it.
        longest: characters of each result; a longer text is cut and ends in "…".
    """
    from matplotlib import rcParams

    given = [str(text)[: longest + 1] for text in texts]
    signs = {character: shown(character) for text in given for character in text}
    families = _families(frozenset("".join(signs.values())))
    for character, sign in signs.items():
        if not families.keys() >= set(sign):
            signs[character] = character.encode("unicode_escape").decode()
    drawn = [shown("".join(signs[character] for character in text), longest).replace("$", r"\$") for text in given]
    return drawn, list(dict.fromkeys([*rcParams["font.family"], *families.values()]))


@lru_cache(maxsize=8)
def _families(characters: frozenset[str]) -> dict[str, str]:
    """Return a font family for each character that an installed font has, the default font's where it has it."""
    from matplotlib import font_manager, rcParams

    found: dict[str, str] = {}
    default = rcParams["font.family"][0]
    regular = [
        (entry.name, entry.fname)
        for entry in font_manager.fontManager.ttflist
        if (entry.style, entry.weight) == ("normal", 400) and not entry.name.startswith("Last Resort")
    ]
    for family, path in [(default, font_manager.findfont(font_manager.FontProperties())), *regular]:
        missing = characters - found.keys()
        if not missing:
            break
        try:
            font = font_manager.get_font(path)
        except (OSError, RuntimeError):  # the file is gone, or no font
            continue
        if font.scalable:  # matplotlib draws no bitmaps, as of coloured emoji
            found |= {character: family for character in missing if font.get_char_index(ord(character))}
    return found
