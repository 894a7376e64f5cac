"""How rows are split: classes in proportion, blocks whole, copies together; against a split by hand."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from unroll.corpora import splits
from unroll.corpora.splits import among, find_copies, sample, split_off


def by_hand(
    rows: list[int], labels: list[int], hashes: list[int], fraction: float, seed: int, block_size: int
) -> tuple[list[int], list[int]]:
    """The rule, with lists: texts are drawn by their first copies, blocks by their first texts."""
    copies: dict[int, list[int]] = {}
    for row in np.random.default_rng(seed).permutation(rows).tolist():
        copies.setdefault(hashes[row], []).append(row)
    second: list[int] = []
    for label in set(labels):
        drawn = [text for text in copies.values() if labels[text[0]] == label]
        if not drawn:
            continue
        wanted = max(1, round(len(drawn) * fraction))
        in_file = sorted(drawn, key=min)
        size = min(block_size, wanted)
        blocks: dict[int, list[list[int]]] = {}
        for text in drawn:  # blocks in the order in which they are met
            start = in_file.index(text) // size * size
            blocks.setdefault(start, in_file[start : start + size])
        second += [row for text in [text for block in blocks.values() for text in block][:wanted] for row in text]
    return sorted(set(rows) - set(second)), sorted(second)


@pytest.mark.parametrize("seed", range(150))
def test_a_split_is_that_by_hand(seed: int) -> None:
    random = np.random.default_rng(seed)
    count = int(random.integers(2, 60))
    labels = random.integers(0, random.integers(1, 4), count)
    hashes = random.integers(0, (5, count, 10**9)[seed % 3], count).astype(np.uint64)
    rows = np.sort(random.choice(count, random.integers(1, count + 1), replace=False))
    fraction, block_size = float(random.uniform(0.05, 0.9)), int(random.choice([1, 2, 7, 50]))
    kind = (np.int32, np.int64)[seed % 2]
    found = split_off(rows.astype(kind), labels, find_copies(hashes), fraction, np.random.default_rng(seed), block_size)
    expected = by_hand(rows.tolist(), labels.tolist(), hashes.tolist(), fraction, seed, block_size)
    assert (found[0].tolist(), found[1].tolist()) == expected


def test_split_off_and_sample_leave_nothing_out() -> None:
    labels = np.array([0, 0, 0, 1, 1, 1, 1, 1])
    hashes = np.arange(8, dtype=np.uint64)
    first, second = split_off(np.arange(8), labels, find_copies(hashes), 0.4, np.random.default_rng(0))
    assert sorted([*first, *second]) == list(range(8))
    assert Counter(labels[second].tolist()) == {0: 1, 1: 2}
    assert list(sample(first, labels, 100, np.random.default_rng(0))) == list(first)


@pytest.mark.parametrize("block_size", [1, 7, 30, 1000])
def test_blocks_are_stretches_of_a_class_that_are_held_out_whole(block_size: int) -> None:
    labels = np.array([0, 1, 0, 0] * 100)  # classes of 300 and 100, which alternate in the file
    first, second = split_off(
        np.arange(400), labels, find_copies(np.arange(400, dtype=np.uint64)), 0.2, np.random.default_rng(3), block_size
    )
    assert sorted([*first, *second]) == list(range(400))
    for label, wanted in ((0, 60), (1, 20)):
        held_out = np.flatnonzero(np.isin(np.flatnonzero(labels == label), second))  # places within the class
        assert len(held_out) == wanted
        size = min(block_size, wanted)
        blocks: dict[int, list[int]] = {}
        for place in held_out.tolist():
            blocks.setdefault(place // size, []).append(place % size)
        assert all(places == list(range(len(places))) for places in blocks.values())
        # Not whole are, at most, the class's last block, which is short, and the last that was drawn.
        assert sum(len(places) < size for places in blocks.values()) <= 2


def test_copies_of_a_text_follow_the_block_of_the_first() -> None:
    hashes = np.arange(100, dtype=np.uint64)
    hashes[[60, 90]] = hashes[5]
    first, second = split_off(
        np.arange(100), np.zeros(100, dtype=int), find_copies(hashes), 0.2, np.random.default_rng(1), block_size=10
    )
    assert len({bool(np.isin(row, second)) for row in (5, 60, 90)}) == 1
    assert len(first) + len(second) == 100


@pytest.mark.parametrize("seed", range(20))
def test_copies_and_what_is_among_others_against_sets(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splits, "CHUNK", 7)
    random = np.random.default_rng(seed)
    hashes, others = (random.integers(0, 40, random.integers(0, 40)).astype(np.uint64) for _ in range(2))
    assert among(hashes, np.sort(others)).tolist() == [one in others for one in hashes]
    copies, counts = find_copies(hashes), Counter(hashes.tolist())
    assert copies.rows.tolist() == [row for row, one in enumerate(hashes.tolist()) if counts[one] > 1]
    assert copies.repeats == len(hashes) - len(counts)
    of_text = dict(zip(copies.texts.tolist(), hashes[copies.rows].tolist(), strict=True))
    assert [of_text[text] for text in copies.texts.tolist()] == hashes[copies.rows].tolist()
    assert sorted(of_text) == list(range(len(set(of_text.values()))))
