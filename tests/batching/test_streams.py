"""Lanes and windows against the text: every place is read once, in order, with the character that follows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unroll.batching.loader import ResumableLoader
from unroll.batching.streams import Lanes, Span, WindowSampler


def text(length: int) -> np.ndarray[Any, np.dtype[np.int32]]:
    """A text in which every character is its own place."""
    return np.arange(length, dtype=np.int32)


def epoch(sampler: WindowSampler, number: int = 0) -> list[Span]:
    sampler.set_epoch(number)
    return list(sampler)


def lane_steps(lanes: Lanes, spans: list[Span]) -> list[list[int]]:
    """The places with a loss, lane by lane, in the order in which they are read."""
    read: list[list[int]] = [[] for _ in range(lanes.lanes)]
    for span in spans:
        window = lanes[span]
        assert torch.equal(window.targets, window.ids[:, -window.targets.size(1) :] + 1)  # each with what follows
        for lane, targets in zip(read, window.targets.tolist(), strict=True):
            lane += [target - 1 for target in targets]
    return read


@given(
    length=st.integers(2, 300),
    lanes=st.integers(1, 9),
    window=st.integers(1, 40),
    stride=st.integers(1, 40),
    offset=st.booleans(),
    number=st.integers(0, 3),
)
def test_every_place_is_learnt_once_in_its_order(
    length: int, lanes: int, window: int, stride: int, offset: bool, number: int
) -> None:
    if (length - 1) // lanes < 1 or stride > window:
        return
    stream = Lanes(text(length), lanes)
    sampler = WindowSampler(stream, window, stride, random_offset=offset, seed=5)
    spans = epoch(sampler, number)
    assert len(spans) == len(sampler)
    read = lane_steps(stream, spans)
    steps = length - 1
    for lane in read:
        assert lane == [(lane[0] + i) % steps for i in range(len(lane))]  # contiguous, in a ring
    places = [place for lane in read for place in lane]
    assert len(set(places)) == len(places) == len(stream)
    assert steps - len(places) < lanes  # fewer are lost than there are lanes
    assert [lane[0] for lane in read[1:]] == [(lane[-1] + 1) % steps for lane in read[:-1]]


@given(window=st.integers(1, 30), stride=st.integers(1, 30), length=st.integers(60, 200), offset=st.booleans())
def test_windows_reach_back_and_hand_the_state_on(window: int, stride: int, length: int, offset: bool) -> None:
    """Followed by hand: a window begins at the place that its lane's state belongs to, or from a zero state."""
    if stride > window:
        return
    stream = Lanes(text(length), 3)
    for number in range(3):
        place_of_state: list[int | None] = [None] * 3
        for span in epoch(WindowSampler(stream, window, stride, random_offset=offset, seed=1), number):
            batch = stream[span]
            time, learnt = batch.ids.size(1), batch.targets.size(1)
            for lane in range(3):
                first = int(batch.ids[lane, 0])
                if not batch.starts[lane]:
                    assert place_of_state[lane] == first  # the state belongs before this window
                # No state is carried from the end of the text to its beginning.
                assert sorted(batch.ids[lane].tolist()) == batch.ids[lane].tolist()
                place_of_state[lane] = (first + batch.carry) % (length - 1)
            assert learnt <= stride
            assert learnt <= time <= window


def test_the_gradient_reaches_back_over_a_whole_window_but_at_a_beginning() -> None:
    spans = epoch(WindowSampler(Lanes(text(101), 1), window=12, stride=5))
    assert [(span.begin, span.end) for span in spans[:4]] == [(0, 5), (0, 10), (3, 15), (8, 20)]
    assert all(span.end - span.begin == 12 for span in spans[2:])
    assert [span.carry for span in spans[:3]] == [0, 3, 5]


def test_only_the_lane_that_begins_the_text_again_starts_anew() -> None:
    stream = Lanes(text(121), 4)
    sampler = WindowSampler(stream, 7, random_offset=True, seed=3)
    again = 0
    for number in range(8):
        for place, span in enumerate(epoch(sampler, number)):
            starts = stream[span].starts.tolist()
            if place == 0:
                assert starts == [True] * 4
            elif any(starts):
                assert starts == [False, False, False, True]
                assert int(stream[span].ids[3, 0]) == 0
                again += 1
    assert again >= 6


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    stream = Lanes(text(500), 4)
    options: dict[str, Any] = {"random_offset": True, "random_window": True}
    sampler = WindowSampler(stream, 16, seed=1, **options)
    first, second = epoch(sampler, 0), epoch(sampler, 1)
    assert epoch(sampler, 0) == first != second
    assert epoch(WindowSampler(stream, 16, seed=2, **options), 0) != first
    plain = WindowSampler(stream, 16, seed=1)
    assert epoch(plain, 0) == epoch(plain, 1)


def test_random_windows_are_of_about_the_length_asked_for() -> None:
    stream = Lanes(text(20_001), 2)
    sampler = WindowSampler(stream, 100, random_window=True, random_offset=True, seed=0)
    counts = set()
    for number in range(5):
        spans = epoch(sampler, number)
        lengths = np.array([span.end - span.begin for span in spans])
        counts.add(len(spans))
        assert lengths.min() >= 50
        assert lengths.max() <= 150
        assert len(set(lengths.tolist())) > 20
        assert abs(lengths.mean() - 100) < 1
        lane_steps(stream, spans)
    assert counts == {len(sampler)} == {100}


def test_a_loader_gives_the_windows_of_the_epoch_set() -> None:
    stream = Lanes(text(100), 3)
    loader = ResumableLoader(stream, WindowSampler(stream, 10))
    batches = list(loader)
    assert len(batches) == len(loader) == 4
    assert batches[0].ids.tolist() == [list(range(10)), list(range(33, 43)), list(range(66, 76))]
    assert batches[0].ids.dtype == batches[0].targets.dtype == torch.int64
    assert batches[0].starts.all()
    assert not batches[1].starts.any()
    assert batches[3].ids.tolist() == [[30, 31, 32], [63, 64, 65], [96, 97, 98]]
    assert batches[3].num_tokens == 9


@pytest.mark.parametrize(
    ("window", "options"),
    [(0, {}), (4, {"stride": 5}), (4, {"stride": 0}), (4, {"stride": 2, "random_window": True})],
)
def test_windows_that_make_no_sense_are_refused(window: int, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"stride|window"):
        WindowSampler(Lanes(text(100), 2), window, **options)
