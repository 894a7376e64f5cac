"""Texts from outside in pictures: as they are where a font can draw them, else escaped."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager

from unroll.diagnostics import drawing
from unroll.diagnostics.drawing import drawable, new_figure

SQUARE = "\u4e2d"  # which the fonts that come with matplotlib lack


@pytest.fixture
def square(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A font of one character, installed for a test; its family."""
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for corner in ((0, 800), (800, 800), (800, 0)):
        pen.lineTo(corner)
    pen.closePath()
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", "square"])
    builder.setupCharacterMap({ord(SQUARE): "square"})
    builder.setupGlyf({".notdef": TTGlyphPen(None).glyph(), "square": pen.glyph()})
    builder.setupHorizontalMetrics({".notdef": (500, 0), "square": (900, 0)})
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "Square", "styleName": "Regular"})
    builder.setupOS2(usWeightClass=400)
    builder.setupPost()
    builder.save(tmp_path / "square.ttf")
    monkeypatch.setattr(font_manager.fontManager, "ttflist", list(font_manager.fontManager.ttflist))
    font_manager.fontManager.addfont(tmp_path / "square.ttf")
    drawing._families.cache_clear()
    return "Square"


@pytest.fixture(autouse=True)
def _no_fonts_are_remembered() -> None:
    drawing._families.cache_clear()


def ink(text: str, families: list[str]) -> bytes:
    """Draw a text, where every warning is an error."""
    figure, file = new_figure(), io.BytesIO()
    figure.text(0.1, 0.5, text, family=families)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.savefig(file, format="raw")
    return file.getvalue()


def test_a_font_that_has_the_character_draws_it(square: str) -> None:
    (text,), families = drawable([f"a{SQUARE}"])
    assert (text, families) == (f"a{SQUARE}", ["sans-serif", square])
    assert ink(text, families).count(0) > 5 * ink("a", families).count(0)  # black: the square is far larger


@pytest.mark.parametrize(
    ("given", "drawn"),
    [
        ("naïve — …", "naïve — …"),
        ("a$b$ \\frac{", "a\\$b\\$ \\frac{"),
        ("\x1b[31m", "\\x1b[31m"),
        ("two\nlines", "two↵lines"),
        ("a\u202eb", "a\\u202eb"),
        ("\ud800", "\\ud800"),
        ("x" * 1000, "x" * 31 + "…"),
        ("$" * 1000, "\\$" * 31 + "…"),
        (3, "3"),
        ("", ""),
    ],
)
def test_what_can_be_drawn_stays_and_the_rest_is_escaped(given: object, drawn: str) -> None:
    (text,), families = drawable([given])
    assert (text, families) == (drawn, ["sans-serif"])
    ink(text, families)


def test_a_character_of_no_font_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    own = [entry for entry in font_manager.fontManager.ttflist if "DejaVu" in entry.name or "Last" in entry.name]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", own)
    texts, families = drawable([SQUARE, "\U0001f9d1"])
    assert (texts, families) == (["\\u4e2d", "\\U0001f9d1"], ["sans-serif"])


def test_a_font_whose_file_is_gone_is_passed_over(square: str, tmp_path: Path) -> None:
    (tmp_path / "square.ttf").write_bytes(b"no font")
    (text,), families = drawable([SQUARE])
    assert square not in families
    ink(text, families)
