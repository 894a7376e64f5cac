"""Rows drawn for a split or a sample, the classes in proportion."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from unroll.errors import DataError

Rows = npt.NDArray[np.int64]


def split_off(
    rows: Rows,
    labels: npt.NDArray[np.int64],
    hashes: npt.NDArray[np.uint64],
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
    # Each text counts by its first copy; the others follow it. (np.unique would take twice the memory, and sort twice.)
    by_hash = np.argsort(hashes[order], kind="stable")
    is_first = np.ones(len(order), dtype=bool)
    is_first[1:] = np.diff(hashes[order[by_hash]]) != 0
    starts = np.flatnonzero(is_first)
    first = by_hash[starts]
    place = np.minimum.reduceat(order[by_hash], starts)  # in the file
    group = np.empty_like(by_hash)
    group[by_hash] = np.cumsum(is_first) - 1
    del by_hash, is_first, starts
    chosen = np.zeros(len(first), dtype=bool)
    group_labels = labels[order[first]]
    by_draw = np.argsort(first)  # groups in the order drawn
    for label in np.unique(group_labels):
        groups = by_draw[group_labels[by_draw] == label]
        wanted = max(1, round(len(groups) * fraction))
        size = min(block_size, wanted)
        if size > 1:
            number = np.argsort(np.argsort(place[groups]))  # 0 for the class's first text in the file
            block = number // size
            _, drawn = np.unique(block, return_index=True)  # a block is drawn when the first of its texts is
            groups = groups[np.lexsort((number, drawn[block]))]
        chosen[groups[:wanted]] = True
    second = chosen[group]
    return np.sort(order[~second]), np.sort(order[second])


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
