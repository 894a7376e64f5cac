"""The columns of a table by their names."""

from collections.abc import Callable, Sequence

from unroll.errors import DataError

Remedy = Callable[[Sequence[str]], str]
"""What to do about a missing column, given the names of the columns that are there."""


def rename(names: Sequence[str]) -> str:
    """Return the remedy for a missing column where no setting names it."""
    return "rename the columns"


def positions(place: object, names: Sequence[str], columns: Sequence[str], remedy: Remedy) -> list[int]:
    """Return where each of `columns` is among `names`.

    Raises DataError, which names `place`, where one is missing or is there more than once.
    """
    for column in columns:
        if names.count(column) != 1:
            there = ", ".join(repr(name[:40]) for name in names[:10]) + (", …" if len(names) > 10 else "")
            count = "no" if column not in names else "more than one"
            raise DataError(f"{place}: {count} column {column[:40]!r} among {there or 'none'}; {remedy(names)}")
    return [names.index(column) for column in columns]
