"""What `predict` and `generate` are given, checked before anything is computed."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator
from numbers import Real
from typing import Any

from unroll.config.fields import brief


def texts_of(texts: Iterable[str], name: str) -> Iterator[str]:
    """Return an iterator over texts that checks each.

    Raises:
        TypeError: `texts` is no collection of texts; or, from the iterator, an entry is no str. The message has its
            index.
    """
    if isinstance(texts, str | bytes) or not isinstance(texts, Iterable):
        raise TypeError(f"{name} must be a list of texts, not {_what(texts)}; put a single text in a list: [text]")
    return _checked(texts, name)


def _checked(texts: Iterable[Any], name: str) -> Iterator[str]:
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            remedy = "decode it, as in text.decode()" if isinstance(text, bytes) else "give a str"
            raise TypeError(f"{name}[{index}] is {_what(text)}; {remedy}")
        yield text


def whole(value: Any, name: str, least: int, most: int | None = None) -> int:
    """Return a whole number.

    Raises:
        TypeError: it is something else; True and 3.0 are.
        ValueError: it is less than `least` or more than `most`.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool):
        raise TypeError(f"{name} must be a whole number, not {_what(value)}")
    if number < least:
        raise ValueError(f"{name} must be at least {least}, not {brief(number)}")
    if most is not None and number > most:
        raise ValueError(f"{name} must be at most {most:,}, not {brief(number)}")
    return number


def number(value: Any, name: str) -> float:
    """Return a number. Raises TypeError where it is something else; True is."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, not {_what(value)}")
    return float(value)


def _what(value: Any) -> str:
    """A value that is short to write, and the type of any other."""
    if value is None or isinstance(value, int | float):
        return str(value) if value is None or isinstance(value, bool) else brief(value)
    return type(value).__name__
