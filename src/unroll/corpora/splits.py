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
    # Each text counts by its first copy; the others follow it.
    _, first, group = np.unique(hashes[order], return_index=True, return_inverse=True)
    _, place = np.unique(hashes[rows], return_index=True)  # in the file
    chosen = np.zeros(len(first), dtype=bool)
    group_labels = labels[order[first]]
    by_draw = np.argsort(first)  # groups in the order drawn
    for label in np.unique(group_labels):
        groups = by_draw[group_labels[by_draw] == label]
        wanted = max(1, round(len(groups) * fraction))
        number = np.argsort(np.argsort(place[groups]))  # 0 for the class's first text in the file
        block = number // min(block_size, wanted)
        _, drawn = np.unique(block, return_index=True)  # a block is drawn when the first of its texts is
        chosen[groups[np.lexsort((number, drawn[block]))[:wanted]]] = True
    second = chosen[group]
    return np.sort(order[~second]), np.sort(order[second])


def sample(rows: Rows, labels: npt.NDArray[np.int64], size: int, random: np.random.Generator) -> Rows:
    """Return `size` of `rows`, or all if there are fewer, with the classes in the proportions that they have there."""
    if size >= len(rows):
        return rows
    order = random.permutation(rows)
    rank = np.empty(len(order))
    for label in np.unique(labels[order]):
        places = np.flatnonzero(labels[order] == label)
        rank[places] = (np.arange(len(places)) + 0.5) / len(places)  # every prefix by rank is proportional
    return np.sort(order[np.argsort(rank, kind="stable")[:size]])


def check_splits(train: Rows, val: Rows, labels: npt.NDArray[np.int64], names: Sequence[str], place: object) -> None:
    """Refuse splits in which a class is missing.

    Raises:
        DataError: a class has no row in one of them; the message names `place` and the settings to change.
    """
    for rows, split in ((train, "training"), (val, "validation")):
        missing = [name for number, name in enumerate(names) if number not in labels[rows]]
        if missing:
            raise DataError(
                f"{place}: no row labelled {missing[0]!r} is left in the {split} split; add rows of that label, "
                "or change data.val_fraction, data.test_fraction or data.limit"
            )
