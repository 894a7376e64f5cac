"""Rows drawn for a split or a sample, the classes in proportion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from unroll.errors import DataError

Rows = npt.NDArray[np.signedinteger[Any]]
Hashes = npt.NDArray[np.uint64]


def split_off(
    rows: Rows,
    labels: npt.NDArray[np.int64],
    hashes: Hashes,
    fraction: float,
    random: np.random.Generator,
    block_size: int = 1,
) -> tuple[Rows, Rows]:
    """Split `rows` in two, the second with about `fraction` of each class; equal texts stay together.

    Args:
        rows: in ascending order.
        labels: of all rows, as are `hashes`, which are equal for equal texts.
        fraction: of each class.
        random: draws the second part.
        block_size: texts of a class that follow each other in the file and are drawn together. A block is never larger
            than the part to draw.

    Returns:
        The two parts, each in ascending order.
    """
    order = random.permutation(rows)
    first, place = _first_copies(hashes[order]), order  # place: in the file, of the copy that is first there
    groups = np.flatnonzero(first == np.arange(len(order)))  # each text counts by the copy that is drawn first
    if len(groups) < len(order):
        place = order.copy()
        np.minimum.at(place, first, order)
    chosen = np.zeros(len(order), dtype=bool)
    group_labels = labels[order[groups]]
    for label in np.unique(group_labels):
        drawn = groups[group_labels == label]
        wanted = max(1, round(len(drawn) * fraction))
        size = min(block_size, wanted)
        if size > 1:
            number = np.argsort(np.argsort(place[drawn]))  # 0 for the class's first text in the file
            block = number // size
            _, turn = np.unique(block, return_index=True)  # a block is drawn when the first of its texts is
            drawn = drawn[np.lexsort((number, turn[block]))]
        chosen[drawn[:wanted]] = True
    second = chosen[first]
    return np.sort(order[~second]), np.sort(order[second])


def all_rows(count: int) -> Rows:
    """Return the rows 0, 1, …, (count,), in four bytes each where these are enough."""
    return np.arange(count, dtype=np.int32 if count < 2**31 else np.int64)


def _first_copies(hashes: Hashes) -> Rows:
    """Return for each text the place of its first copy, (texts,). Few texts are there twice, so only these are sorted
    with their places: sorting all would take as much memory as everything else that is known of the rows."""
    first = all_rows(len(hashes))
    ordered = np.sort(hashes)
    repeated = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    del ordered
    if len(repeated):
        text = np.searchsorted(repeated[:-1], hashes)
        copies = np.flatnonzero(repeated[text] == hashes)
        text = text[copies]
        _, its_first = np.unique(text, return_index=True)
        first[copies] = copies[its_first[text]]
    return first


def sample(rows: Rows, labels: npt.NDArray[np.int64], size: int, random: np.random.Generator) -> Rows:
    """Return `size` of `rows`, or all if there are fewer, with the classes in the proportions that they have there."""
    if size >= len(rows):
        return rows
    order = random.permutation(rows)
    rank, drawn = np.empty(len(order)), labels[order]
    for label in np.unique(drawn):
        places = np.flatnonzero(drawn == label)
        rank[places] = (np.arange(len(places)) + 0.5) / len(places)  # every prefix by rank is proportional
    return np.sort(order[np.argsort(rank, kind="stable")[:size]])


def check_splits(train: Rows, val: Rows, labels: npt.NDArray[np.int64], names: Sequence[str], place: object) -> None:
    """Refuse splits in which a class is missing.

    Raises:
        DataError: a class has no row in one of them; the message names `place` and the settings to change.
    """
    for rows, split in ((train, "training"), (val, "validation")):
        counts = np.bincount(labels[rows], minlength=len(names))
        missing = [name for name, count in zip(names, counts, strict=True) if not count]
        if missing:
            raise DataError(
                f"{place}: no row labelled {missing[0]!r} is left in the {split} split; add rows of that label, "
                "or change data.val_fraction, data.test_fraction or data.limit"
            )
