"""Rows drawn for a split or a sample, the classes in proportion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from unroll.errors import DataError

CHUNK = 2**20  # rows that are looked at together

Rows = npt.NDArray[np.signedinteger[Any]]
Whole = npt.NDArray[np.integer[Any]]  # of any width: of millions of rows, each byte counts
Hashes = npt.NDArray[np.uint64]


class Copies(NamedTuple):
    """Texts that are there more than once."""

    rows: Rows  # ascending
    texts: Rows  # their numbers, from 0: equal for equal texts

    @property
    def repeats(self) -> int:
        """How many there are, without the first of each text."""
        return len(self.rows) - int(self.texts.max(initial=-1)) - 1


def split_off(
    rows: Rows,
    labels: Whole,
    copies: Copies,
    fraction: float,
    random: np.random.Generator,
    block_size: int = 1,
) -> tuple[Rows, Rows]:
    """Split `rows` in two, the second with about `fraction` of each class; equal texts stay together.

    Args:
        rows: in ascending order.
        labels: of all rows, as are `copies`.
        fraction: of each class.
        random: draws the second part.
        block_size: texts of a class that follow each other in the file and are drawn together. A block is never larger
            than the part to draw.

    Returns:
        The two parts, each in ascending order.
    """
    order = random.permutation(rows)
    copies_at, first_at = _copies_in(copies, order, len(labels))
    is_first = np.ones(len(order), dtype=bool)  # each text counts by the copy that is drawn first
    is_first[copies_at[copies_at != first_at]] = False
    place = order  # in the file, of the copy that is first there
    if len(copies_at):
        place = order.copy()
        np.minimum.at(place, first_at, order[copies_at])
    chosen, labels = np.zeros(len(order), dtype=bool), labels[order]
    for label in np.unique(labels):
        drawn = all_rows(len(order))[is_first & (labels == label)]
        wanted = max(1, round(len(drawn) * fraction))
        chosen[_in_blocks(drawn, place, wanted, min(block_size, wanted))] = True
    chosen[copies_at] = chosen[first_at]
    return np.sort(order[~chosen]), np.sort(order[chosen])


def _in_blocks(drawn: Rows, place: Rows, wanted: int, size: int) -> Rows:
    """Return `wanted` of a class's texts, in blocks of `size` that follow each other by their `place`.

    The texts ascend, in the order in which they are drawn. The first that is drawn of a block takes the others along.
    """
    if size == 1:
        return drawn[:wanted]
    drawn = drawn[np.argsort(place[drawn])]
    turn = np.minimum.reduceat(drawn, np.arange(0, len(drawn), size))  # a block is drawn when the first of its texts is
    blocks = np.argsort(turn)[: wanted // size + 2]  # one may be short
    texts = (blocks[:, None] * size + np.arange(size)).ravel()
    found: Rows = drawn[texts[texts < len(drawn)][:wanted]]
    return found


def all_rows(count: int) -> Rows:
    """Return the rows 0, 1, …, (count,), in four bytes each where these are enough."""
    return np.arange(count, dtype=np.int32 if count < 2**31 else np.int64)


def among(hashes: Hashes, others: Hashes) -> npt.NDArray[np.bool_]:
    """Return which of `hashes` are among `others`, which ascend. Few are looked up at a time: `numpy.isin` would sort
    all together."""
    found = np.zeros(len(hashes), dtype=bool)
    for start in range(0, len(hashes) if len(others) else 0, CHUNK):
        some = hashes[start : start + CHUNK]
        found[start : start + CHUNK] = others[np.searchsorted(others[:-1], some)] == some
    return found


def find_copies(hashes: Hashes) -> Copies:
    """Return which texts are there more than once. Few are, so this takes less than a hash of each text."""
    ordered = np.sort(hashes)
    twice = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    del ordered
    rows = all_rows(len(hashes))[among(hashes, twice)]
    return Copies(rows, np.searchsorted(twice, hashes[rows]))


def _copies_in(copies: Copies, order: Rows, count: int) -> tuple[Rows, Rows]:
    """Return the places in an order, of rows below `count`, whose texts have copies, and the place of each text's first
    copy there."""
    has_copies = np.zeros(count, dtype=bool)
    has_copies[copies.rows] = True
    places = np.flatnonzero(has_copies[order])
    texts = copies.texts[np.searchsorted(copies.rows, order[places])]
    _, first, text = np.unique(texts, return_index=True, return_inverse=True)
    return places, places[first[text]]


def sample(rows: Rows, labels: Whole, size: int, random: np.random.Generator) -> Rows:
    """Return `size` of `rows`, or all if there are fewer, with the classes in the proportions that they have there."""
    if size >= len(rows):
        return rows
    order = random.permutation(rows)
    rank, drawn = np.empty(len(order)), labels[order]
    for label in np.unique(drawn):
        places = np.flatnonzero(drawn == label)
        rank[places] = (np.arange(len(places)) + 0.5) / len(places)  # every prefix by rank is proportional
    return np.sort(order[np.argsort(rank, kind="stable")[:size]])


def class_sizes(labels: Whole, classes: int) -> npt.NDArray[np.int64]:
    """Return how many labels each class has, (classes,). Few are counted at a time, as `bincount` makes them wide."""
    sizes = np.zeros(classes, dtype=np.int64)
    for start in range(0, len(labels), CHUNK):
        sizes += np.bincount(labels[start : start + CHUNK], minlength=classes)
    return sizes


def check_splits(train: Rows, val: Rows, labels: Whole, names: Sequence[str], place: object) -> None:
    """Refuse splits in which a class is missing.

    Raises:
        DataError: a class has no row in one of them; the message names `place` and the settings to change.
    """
    for rows, split in ((train, "training"), (val, "validation")):
        counts = class_sizes(labels[rows], len(names))
        missing = [name for name, count in zip(names, counts, strict=True) if not count]
        if missing:
            raise DataError(
                f"{place}: no row labelled {missing[0]!r} is left in the {split} split; add rows of that label, "
                "or change data.val_fraction, data.test_fraction or data.limit"
            )
