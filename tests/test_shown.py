"""Text from outside, as it is shown."""

from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from unroll.shown import shown

STEERING = ("Cc", "Cf", "Cs", "Zl", "Zp")


def test_ordinary_text_stays_as_it_is() -> None:
    for text in ("a review", "Größe, naïve, 映画, фильм, فیلم", "🙂👍🏽", "می‌خواهم", "👩‍🚀", ""):
        assert shown(text) == text


def test_what_steers_a_terminal_becomes_a_sign() -> None:
    assert shown("\x1b[2J\x07\r\n\t\x7f") == "␛[2J␇␍↵␉␡"
    assert shown("\x9b31m") == "\\u009b31m"
    assert shown("user\u202egpj.exe") == "user\\u202egpj.exe"
    assert shown("\ud83d") == "\\ud83d"
    assert shown("one\ntwo\x1b", keep="\n") == "one\ntwo␛"


@given(st.text())
def test_nothing_that_steers_is_left(text: str) -> None:
    left = {unicodedata.category(character) for character in shown(text) if character not in "\u200c\u200d"}
    assert left.isdisjoint(STEERING)


@given(st.text(), st.integers(1, 30))
def test_it_is_as_long_as_asked_for_at_most(text: str, longest: int) -> None:
    result = shown(text, longest)
    assert len(result) <= longest
    assert result == shown(text) or result.endswith("…")


def test_what_is_no_text_is_shown_as_it_is_written() -> None:
    assert shown(3.5) == "3.5"
    assert shown(None) == "None"
