"""What batches hold, how little padding they have, and their order, which depends on seed and epoch alone."""

import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unroll.batching import documents as module
from unroll.batching.documents import Batch, BucketSampler, Documents, Ids, Joined, LookedUp, narrow, wide
from unroll.batching.loader import ResumableLoader

LENGTHS = st.lists(st.integers(1, 60), max_size=40)
NOISE = st.floats(0, 0.95)
SEED = st.none() | st.integers(0, 2**40)
Lengths = npt.NDArray[np.int64]


def documents_of(texts: list[list[int]]) -> Documents:
    lengths = np.array([len(text) for text in texts], dtype=np.int64)
    return Documents(
        ids=np.array([id_ for text in texts for id_ in text], dtype=np.int32),
        starts=np.cumsum(lengths) - lengths,
        lengths=lengths,
        labels=np.arange(len(texts), dtype=np.int64) * 10,
    )


def padding_share(batches: list[list[int]], lengths: Lengths) -> float:
    cells = sum(max(lengths[row] for row in batch) * len(batch) for batch in batches)
    return 1 - float(lengths.sum()) / cells


# Gathering.


def test_a_batch_by_hand() -> None:
    batch = documents_of([[5, 6], [7], [8, 9, 10]])[[2, 1]]
    assert batch.ids.tolist() == [[8, 9, 10], [7, 0, 0]]
    assert batch.lengths.tolist() == [3, 1]
    assert batch.labels.tolist() == [20, 10]


@given(st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=9), min_size=1, max_size=8), st.data())
def test_gathering_against_a_loop(texts: list[list[int]], data: st.DataObject) -> None:
    rows = data.draw(st.lists(st.integers(0, len(texts) - 1), min_size=1, max_size=10))
    batch = documents_of(texts)[rows]
    width = max(len(texts[row]) for row in rows)
    assert batch.ids.tolist() == [texts[row] + [0] * (width - len(texts[row])) for row in rows]
    assert batch.lengths.tolist() == [len(texts[row]) for row in rows]
    assert batch.labels.tolist() == [10 * row for row in rows]
    assert {tensor.dtype for tensor in batch[:3]} == {torch.int64}


def test_ids_that_are_looked_up_and_joined_are_those_of_one_array() -> None:
    ids = np.random.default_rng(0).integers(0, 90, 50).astype(np.int32)
    types, tokens = np.unique(ids, return_inverse=True)
    one: Ids = LookedUp(tokens[:20].astype(np.uint8), types.astype(np.int32))
    joined = Joined(one, ids[20:])
    assert (len(one), len(joined)) == (20, 50)
    for places in (slice(None), slice(3, 30), slice(25, 25), np.array([[0, 49, 19], [20, 20, 5]]), np.array([7])):
        found = joined[places]
        assert found.dtype == np.int32
        assert np.array_equal(found, ids[places])
    starts, lengths = np.array([0, 18, 30, 44]), np.array([5, 7, 1, 6])
    texts = [Documents(some, starts, lengths, starts) for some in (ids, joined)]
    assert all(torch.equal(a, b) for a, b in zip(*(text[[3, 1, 0]][:3] for text in texts), strict=True))


@pytest.mark.skipif(sys.platform != "linux", reason="the system tells the memory of a map")
def test_what_was_read_of_a_large_file_takes_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SMALL", 2**19)
    for name, size, most in (("small", 2**19, 2**19), ("large", 2**20, 0)):
        tokens = (np.arange(size) % 200).astype(np.uint8)
        (tmp_path / name).write_bytes(tokens.tobytes())
        ids = LookedUp(np.memmap(tmp_path / name, np.uint8, "r"), np.arange(200, dtype=np.int32)[::-1].copy())
        for start in range(0, size, 2**14):
            assert np.array_equal(ids[start : start + 2**14], 199 - tokens[start : start + 2**14])
        kept = resident(tmp_path / name)
        assert kept <= most
        assert (kept == size) == (name == "small")


def resident(path: Path) -> int:
    """Return the bytes of a file that a map of this process holds in memory."""
    maps = Path("/proc/self/smaps").read_text().partition(f"{path}\n")[2]
    return int(re.search(r"^Rss: +(\d+) kB", maps, re.MULTILINE)[1]) * 2**10  # type: ignore[index]  # each map has it


@given(st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=9), max_size=8))
def test_all_ids_together(texts: list[list[int]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MANY", 3)
        found = [ids.tolist() for ids in documents_of(texts).together()]
    assert sum(found, []) == sum(texts, [])  # noqa: RUF017 - there are few
    assert len(found) == -(-len(texts) // 3)


@given(LENGTHS, st.integers(1, 400), NOISE)
def test_cuts_by_bisection_are_those_of_a_loop(lengths: list[int], budget: int, noise: float) -> None:
    sampler = BucketSampler(np.array(lengths, dtype=np.int64), max_tokens=budget, noise=noise, seed=1)
    most = max(lengths, default=0)
    longest = [min(length * ((1 + noise) / (1 - noise)), most) for length in sorted(lengths)]
    sizes, batch = [], 0
    for length in longest:
        if batch and length * (batch + 1) > budget:
            sizes.append(batch)
            batch = 0
        batch += 1
    assert sorted(map(len, sampler)) == sorted([*sizes, batch] if batch else sizes)


def test_documents_may_lie_anywhere_and_share_nothing_with_their_batches() -> None:
    documents = Documents(
        ids=np.array([1, 2, 3, 4], dtype=np.int32),
        starts=np.array([2, 0, 1]),
        lengths=np.array([2, 4, 1]),
        labels=np.array([0, 1, 0]),
    )
    assert len(documents) == 3
    batch = documents[[0, 1, 2]]
    assert batch.ids.tolist() == [[3, 4, 0, 0], [1, 2, 3, 4], [2, 0, 0, 0]]
    for tensor in batch[:3]:
        tensor.fill_(99)
    assert (documents.ids.tolist(), documents.lengths.tolist()) == ([1, 2, 3, 4], [2, 4, 1])
    assert documents.labels.tolist() == [0, 1, 0]


# Any sampler.

SAMPLERS = st.one_of(
    st.builds(lambda size: {"batch_size": size}, st.integers(1, 12)),
    st.builds(lambda budget: {"max_tokens": budget}, st.integers(1, 400)),
)


@given(LENGTHS, SAMPLERS, NOISE, SEED, st.integers(0, 1000))
def test_every_document_comes_once_in_the_promised_number_of_batches(
    lengths: list[int], size: dict[str, int], noise: float, seed: int | None, epoch: int
) -> None:
    sampler = BucketSampler(np.array(lengths, dtype=np.int64), noise=noise, seed=seed, **size)
    for turn in range(3):
        sampler.set_epoch(epoch + turn)
        batches = list(sampler)
        assert len(batches) == len(sampler)
        assert all(batches), "none is empty"
        assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
        assert all(type(row) is int for batch in batches for row in batch)
        if "batch_size" in size:
            sizes = sorted(len(batch) for batch in batches)
            full, rest = divmod(len(lengths), size["batch_size"])
            assert sizes == [rest] * bool(rest) + [size["batch_size"]] * full
        else:
            for batch in batches:
                padded = max(lengths[row] for row in batch) * len(batch)
                assert len(batch) == 1 or padded <= size["max_tokens"]


@given(LENGTHS, SAMPLERS, NOISE, st.integers(0, 2**40), st.integers(0, 50))
def test_the_order_is_a_function_of_seed_and_epoch(
    lengths: list[int], size: dict[str, int], noise: float, seed: int, epoch: int
) -> None:
    array = np.array(lengths, dtype=np.int64)
    used, fresh = (BucketSampler(array, noise=noise, seed=seed, **size) for _ in range(2))
    for earlier in (0, 3, 1):
        used.set_epoch(earlier)
        next(iter(used), None)
        list(used)
    used.set_epoch(epoch)
    fresh.set_epoch(epoch)
    np.random.seed(1)
    torch.manual_seed(1)
    assert list(used) == list(fresh) == list(used)
    assert array.tolist() == lengths


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.9])
@pytest.mark.parametrize("longest", [1, 3, 500])
def test_the_order_is_that_of_one_stable_sort(noise: float, longest: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the number of documents that are put in order at a time."""
    monkeypatch.setattr(module, "MANY", 64)
    lengths = np.random.default_rng(5).integers(1, longest + 1, 1000).astype(np.uint16)
    random = np.random.default_rng([7, 2])
    order = random.permutation(1000)
    products = (random.uniform(1 - noise, 1 + noise, 1000) * lengths)[order]
    expected = order[np.argsort(products, kind="stable")].tolist()
    for at_once in (2000, 1000, 300, 10):
        monkeypatch.setattr(module, "AT_ONCE", at_once)
        sampler = BucketSampler(lengths, batch_size=10, noise=noise, seed=7)
        sampler.set_epoch(2)
        batches = list(sampler)
        turns = np.random.default_rng([7, 2])
        turns.permutation(1000)
        turns.uniform(size=1000)
        assert [batches[place] for place in np.argsort(turns.permutation(100))] == [
            expected[start : start + 10] for start in range(0, 1000, 10)
        ]


@pytest.mark.parametrize("ends", [(0, 255), (0, 256), (-1, 200), (-1, 1), (0, 2**40)])
def test_numbers_are_as_narrow_as_they_fit(ends: tuple[int, int]) -> None:
    numbers = np.array([*ends, 1])
    found = narrow(numbers)
    assert found.tolist() == numbers.tolist() == wide(found).tolist()
    assert found.itemsize == {255: 1, 256: 2, 200: 2, 1: 1, 2**40: 8}[ends[1]]


def test_narrow_documents_give_the_batches_of_wide_ones() -> None:
    lengths = np.random.default_rng(0).integers(1, 250, 90)
    ids = np.random.default_rng(1).integers(0, 9, lengths.sum()).astype(np.int32)
    given = ids, np.cumsum(lengths) - lengths, lengths, np.arange(90) % 3
    one, other = Documents(*given), Documents(ids, *map(narrow, given[1:]))
    assert other.starts.itemsize == 2 and other.lengths.itemsize == other.labels.itemsize == 1
    for rows in ([0, 89, 5], list(range(90))):
        assert all(
            torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(one[rows][:3], other[rows][:3], strict=True)
        )
    assert np.concatenate(list(other.together())).tolist() == ids.tolist()
    assert all(np.array_equal(one.document(row), other.document(row)) for row in range(90))


@pytest.mark.parametrize("size", [{"batch_size": 8}, {"max_tokens": 300}])
@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_epochs_and_seeds_differ(size: dict[str, int], noise: float) -> None:
    lengths = np.arange(1, 101) // 4 + 1
    orders = []
    for seed, epoch in [(0, 0), (0, 1), (1, 0), (1, 1)]:
        sampler = BucketSampler(lengths, noise=noise, seed=seed, **size)
        sampler.set_epoch(epoch)
        orders.append(list(sampler))
    for i, one in enumerate(orders):
        for two in orders[:i]:
            assert one != two
            assert {frozenset(batch) for batch in one} != {frozenset(batch) for batch in two}, "the batches, too"
            assert [len(batch) for batch in one] != [len(batch) for batch in two] or "batch_size" in size


def test_batches_come_in_no_order_of_length() -> None:
    lengths = np.arange(1, 201)
    means = [float(lengths[batch].mean()) for batch in BucketSampler(lengths, batch_size=4, noise=0.1, seed=0)]
    assert abs(np.corrcoef(means, np.arange(len(means)))[0, 1]) < 0.5


def test_without_a_seed_the_order_is_by_length_and_stays() -> None:
    lengths = np.array([3, 1, 2, 3, 1, 9])
    sampler = BucketSampler(lengths, batch_size=2, noise=0.9)
    for epoch in range(3):
        sampler.set_epoch(epoch)
        assert list(sampler) == [[1, 4], [2, 0], [3, 5]]
    assert list(BucketSampler(lengths, max_tokens=6, noise=0.9)) == [[1, 4, 2], [0, 3], [5]]


# Padding.


def test_buckets_waste_little() -> None:
    random = np.random.default_rng(0)
    lengths = np.clip(np.exp(random.normal(5.2, 0.65, 5000)), 5, 2000).astype(np.int64)  # as IMDb's: median 180
    shuffled = random.permutation(5000).tolist()
    plain = padding_share([shuffled[i : i + 32] for i in range(0, 5000, 32)], lengths)
    assert plain > 0.6
    for size in ({"batch_size": 32}, {"max_tokens": 8192}):
        assert padding_share(list(BucketSampler(lengths, noise=0.1, seed=0, **size)), lengths) < 0.12
        assert padding_share(list(BucketSampler(lengths, noise=0.0, seed=0, **size)), lengths) < 0.03


def test_a_budget_is_used_up() -> None:
    assert list(BucketSampler(np.array([5] * 7), max_tokens=15)) == [[0, 1, 2], [3, 4, 5], [6]]
    assert [len(batch) for batch in BucketSampler(np.array([5] * 7), max_tokens=15, noise=0.5, seed=0)] != [1] * 7
    assert list(BucketSampler(np.array([99, 1, 98, 1]), max_tokens=15)) == [[1, 3], [2], [0]]


def test_the_budget_holds_where_noise_carries_long_documents_far_forward() -> None:
    lengths = np.array([100] * 500 + [210] * 50)  # 0.6 · 210 < 1.4 · 100: some long ones come before short ones
    sampler = BucketSampler(lengths, max_tokens=1000, noise=0.4, seed=0)
    mixed = 0
    for epoch in range(20):
        sampler.set_epoch(epoch)
        for batch in sampler:
            mixed += len(set(lengths[batch])) == 2
            assert max(lengths[batch]) * len(batch) <= 1000
    assert mixed > 20


# Errors, and the loader.


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BucketSampler(np.array([1])), "give either batch_size or max_tokens"),
        (lambda: BucketSampler(np.array([1]), batch_size=1, max_tokens=1), "give either batch_size or max_tokens"),
        (lambda: BucketSampler(np.array([1]), batch_size=1, noise=1.0), "below 1, not 1.0"),
        (lambda: BucketSampler(np.array([1]), max_tokens=1, noise=-0.1), "at least 0 and below 1, not -0.1"),
    ],
)
def test_wrong_arguments(make: Callable[[], BucketSampler], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_the_loader_yields_the_samplers_batches_in_each_epochs_order() -> None:
    texts = [[1 + row] * (1 + row % 7) for row in range(50)]
    documents = documents_of(texts)
    sampler = BucketSampler(documents.lengths, batch_size=8, noise=0.1, seed=0)
    loader = ResumableLoader(documents, sampler)
    orders = []
    for epoch in (0, 1, 0):
        sampler.set_epoch(epoch)
        batches = list(loader)
        assert len(batches) == len(loader) == 7
        for batch, rows in zip(batches, sampler, strict=True):
            assert isinstance(batch, Batch)
            assert {tensor.dtype for tensor in batch[:3]} == {torch.int64}
            assert all(map(torch.equal, batch[:3], documents[rows][:3]))
        orders.append([batch.labels.tolist() for batch in batches])
    assert orders[0] == orders[2] != orders[1]
