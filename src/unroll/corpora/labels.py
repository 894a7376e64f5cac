"""From the labels in the data to classes: their names and numbers."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from decimal import Decimal

import numpy as np
import numpy.typing as npt

from unroll.errors import DataError

_INTEGER = re.compile(r"-?[0-9]{1,18}")
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")


def number_labels(
    labels: Sequence[int | str], names: Sequence[str] | None, place: object
) -> tuple[tuple[str, ...], dict[int | str, int]]:
    """Return the class names, and the number of each label; `label_ids` reads other tables of the data by these.

    `names` are used where every label is one of them or an index into them. Otherwise labels that are names keep them,
    in their order, and integers are named by their digits.

    Raises:
        DataError: there is one class only; the message names `place`.
    """
    distinct = sorted(set(labels), key=lambda label: (isinstance(label, str), label))
    if len(distinct) < 2:
        raise DataError(f"{place}: every row has the label {distinct[0]!r:.80}; a classifier needs two classes or more")
    numbers: dict[int | str, int] = {name: number for number, name in enumerate(names or ())}
    numbers |= {number: number for number in range(len(numbers))}
    if names is None or not set(distinct) <= numbers.keys():
        names = [str(label) for label in distinct]
        numbers = {label: number for number, label in enumerate(distinct)}
        numbers |= {name: number for number, name in enumerate(names)}
    return tuple(names), numbers


def label_ids(
    labels: Sequence[int | str],
    names: Sequence[str],
    place: object,
    rows: Sequence[int] | None = None,
    numbers: Mapping[int | str, int] | None = None,
) -> npt.NDArray[np.int64]:
    """Return each label's number in `names`.

    Args:
        labels: of the rows of a table, or those that there are.
        names: of the classes.
        place: of the table, for errors.
        rows: where each label stands, from 1; None: one after another.
        numbers: of all labels, from `number_labels`. None: a label is a name, or an integer that stands for one: by its
            digits where all names are whole numbers in ascending order, as `number_labels` makes them; else as index.

    Raises:
        DataError: a label is none of these; the message names place and row.
    """
    numbers = numbers or _numbers(names)
    for row, label in zip(rows or range(1, len(labels) + 1), labels, strict=True):
        if label not in numbers:
            some = ", ".join(name[:80] for name in names[:20]) + (", …" if len(names) > 20 else "")
            raise DataError(f"{place}: row {row} has the label {label!r:.80}; the labels are {some}")
    return np.array([numbers[label] for label in labels], dtype=np.int64)


def _numbers(names: Sequence[str]) -> dict[int | str, int]:
    numbers: dict[int | str, int] = {name: number for number, name in enumerate(names)}
    integers = [int(name) for name in names if _INTEGER.fullmatch(name)]
    are_digits = len(integers) == len(names) and integers == sorted(set(integers))
    return numbers | {integer: number for number, integer in enumerate(integers if are_digits else range(len(names)))}


def lookalikes(names: Sequence[str]) -> list[tuple[str, str]]:
    """Return pairs of class names that may be meant for one class.

    They differ by case, space or form alone: `Positive` and `positive`, `sci-fi` and `sci fi`, `1` and `1.0`, or
    letters that Unicode takes for compatible (NFKC). Where some are numbers and others words, the first of each are a
    pair.
    """
    first: dict[str, str] = {}
    pairs = [(other, name) for name in names if (other := first.setdefault(_form(name), name)) != name]
    numbers = [name for name in names if _NUMBER.fullmatch(_form(name))]
    words = [name for name in names if name not in numbers]
    return pairs + list(zip(numbers[:1], words[:1], strict=False))


def _form(name: str) -> str:
    """What is left of a name without case, space and form."""
    form = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold()).strip()
    if _NUMBER.fullmatch(form):
        return f"{Decimal(form).normalize():f}"
    return re.sub(r"(?<=[^\W\d_])[\s_-]+(?=[^\W\d_])|\s+", "", form)
