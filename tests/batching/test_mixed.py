"""Labelled and unlabelled documents side by side."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch.utils.data import default_convert

from unroll.batching.documents import BucketSampler, Documents
from unroll.batching.loader import ResumableLoader
from unroll.batching.mixed import MixedBatch, MixedDocuments, MixedSampler


def documents(count: int, first: int) -> Documents:
    """Document i is the number `first` + i, several times."""
    lengths = 1 + np.arange(count, dtype=np.int64) % 5
    ids = np.repeat(np.arange(first, first + count, dtype=np.int32), lengths)
    return Documents(ids, np.cumsum(lengths) - lengths, lengths, np.full(count, -1, dtype=np.int64))


LABELLED, UNLABELLED = documents(20, 100), documents(23, 200)


def sampler() -> MixedSampler:
    options: Any = {"batch_size": 4, "seed": 3, "noise": 0.1}
    return MixedSampler(*(BucketSampler(part.lengths, **options) for part in (LABELLED, UNLABELLED)))


def epochs(count: int) -> list[list[tuple[list[int], list[int]]]]:
    order, found = sampler(), []
    for epoch in range(count):
        order.set_epoch(epoch)
        found.append(list(order))
    return found


def test_an_epoch_is_one_of_the_labelled_documents() -> None:
    plain = BucketSampler(LABELLED.lengths, batch_size=4, seed=3, noise=0.1)
    for epoch, batches in enumerate(epochs(3)):
        plain.set_epoch(epoch)
        assert [labelled for labelled, _ in batches] == list(plain)
    assert len(sampler()) == len(plain) == 5


def test_all_unlabelled_documents_have_their_turn_before_one_has_another() -> None:
    in_order = [unlabelled for epoch in epochs(12) for _, unlabelled in epoch]
    assert len(in_order) == 60, "ten times the six batches of 23 documents"
    for start in range(0, 60, 6):
        assert Counter(row for rows in in_order[start : start + 6] for row in rows) == Counter(range(23))
    assert in_order[:6] != in_order[6:12]


def test_any_place_in_any_epoch_can_be_begun_with() -> None:
    whole = epochs(4)
    for epoch in range(4):
        for start in range(5):
            order = sampler()
            order.set_epoch(epoch, start)
            assert list(order) == whole[epoch][start:]


def test_a_loader_resumes_both() -> None:
    def loader() -> ResumableLoader[MixedBatch]:
        return ResumableLoader(MixedDocuments(LABELLED, UNLABELLED), sampler())

    first = loader()
    batches = list(first)
    stopped, resumed = loader(), loader()
    list(islice(stopped, 2))
    resumed.load_state_dict(stopped.state_dict())
    rest = list(resumed)
    assert len(rest) == 3
    for one, other in zip(batches[2:], rest, strict=True):
        assert torch.equal(one.labelled.ids, other.labelled.ids)
        assert torch.equal(one.unlabelled.ids, other.unlabelled.ids)


def test_a_batch_holds_the_documents_of_both() -> None:
    batch = MixedDocuments(LABELLED, UNLABELLED)[[1, 3], [2]]
    assert batch.labelled.ids.tolist() == [[101, 101, 0, 0], [103] * 4]
    assert batch.unlabelled.ids.tolist() == [[202] * 3]
    assert (batch.num_tokens, batch.num_examples) == (9, 2)
    assert isinstance(default_convert(batch).unlabelled, type(batch.labelled))
