"""The parts of several processes make up the batch of one, exactly."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.batching.test_documents import documents_of
from unroll.batching.documents import BucketSampler
from unroll.batching.part import share_of
from unroll.batching.streams import Lanes, WindowSampler, own_lanes


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=30),
    st.integers(2, 4),
    st.sampled_from([{"batch_size": 1}, {"batch_size": 5}, {"max_tokens": 12}]),
)
def test_the_parts_of_documents(lengths: list[int], world_size: int, size: dict[str, int]) -> None:
    documents = documents_of([[1 + row] * length for row, length in enumerate(lengths)])
    for rows in BucketSampler(documents.lengths, noise=0.1, seed=0, **size):
        whole = documents[rows]
        parts = [dataclasses.replace(documents, rank=rank, world_size=world_size)[rows] for rank in range(world_size)]
        assert np.isclose(sum(share_of(part.part) for part in parts), world_size)
        found: dict[int, list[int]] = {}
        for rank, part in enumerate(parts):
            assert (part.num_tokens, part.num_examples) == (whole.num_tokens, whole.num_examples)
            assert len(part.labels) >= 1, "a spare where it has none"
            if share_of(part.part):
                # The mean over a part, times its share, is its part of the mean over the batch.
                assert np.isclose(share_of(part.part) * len(rows), len(part.labels) * world_size)
                for place, (ids, length) in enumerate(zip(part.ids, part.lengths, strict=True)):
                    found[rank + place * world_size] = ids[:length].tolist()
        assert found == {
            place: ids[:length].tolist()
            for place, (ids, length) in enumerate(zip(whole.ids, whole.lengths, strict=True))
        }


@given(st.integers(1, 9), st.integers(1, 4), st.booleans())
def test_the_parts_of_a_text(lanes: int, world_size: int, random_offset: bool) -> None:
    world_size = min(world_size, lanes)
    text = np.random.default_rng(0).integers(2, 9, 200).astype(np.int32)
    one = Lanes(text, lanes)
    for span in WindowSampler(one, 8, 4, random_offset=random_offset, seed=1):
        whole = one[span]
        parts = [Lanes(text, lanes, rank, world_size)[span] for rank in range(world_size)]
        for name in ("ids", "targets", "starts"):
            assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(whole, name))
        assert {part.carry for part in parts} == {whole.carry}
        assert {part.num_tokens for part in parts} == {whole.num_tokens}
        for part in parts:
            assert np.isclose(share_of(part.part) * lanes, len(part.ids) * world_size)


def test_lanes_are_cut_as_torch_cuts_them() -> None:
    for lanes in range(1, 12):
        for world_size in range(1, lanes + 1):
            expected = torch.tensor_split(torch.arange(lanes), world_size)
            for rank, own in enumerate(expected):
                assert list(range(lanes))[own_lanes(lanes, rank, world_size)] == own.tolist()
