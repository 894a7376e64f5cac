"""One long text in lanes, read window by window: the batches of truncated backpropagation through time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler


class Window(NamedTuple):
    """The next window of every lane."""

    ids: Tensor  # (lanes, time) int64
    targets: Tensor  # (lanes, stride) int64: the successors of the last `stride` ids
    starts: Tensor  # (lanes,) bool: the lanes that start anew, from a zero state
    carry: int  # steps after which the state is the one that the next window starts from

    @property
    def num_tokens(self) -> int:
        """Characters that are learnt from."""
        return self.targets.numel()

    @property
    def num_examples(self) -> int:
        """What a mean over the batch is a mean of: characters."""
        return self.targets.numel()


class Span(NamedTuple):
    """Where a window lies in its epoch, in steps from the beginning of each lane."""

    offset: int  # of the first lane's beginning, in the text
    begin: int
    end: int
    stride: int  # steps at the end that the loss is taken of
    carry: int  # steps from `begin` to the next window's
    starts: slice  # lanes that start anew


@dataclass(frozen=True)
class Lanes(Dataset[Window]):
    """A text of N characters as `lanes` contiguous stretches of (N - 1) // lanes steps each.

    A step reads a character and predicts the next one, so N characters make N - 1 steps; at the end of the last lane
    fewer steps than there are lanes are left over, and no others. With an offset the text is read as a ring, and where
    it begins again nothing is carried over from its end.
    """

    ids: npt.NDArray[np.int32]  # (N,)
    lanes: int

    @property
    def length(self) -> int:
        """Steps of each lane."""
        return (len(self.ids) - 1) // self.lanes

    def __len__(self) -> int:
        """Steps of an epoch, which is characters predicted."""
        return self.length * self.lanes

    def __getitem__(self, span: Span) -> Window:
        first = span.offset + np.arange(self.lanes)[:, None] * self.length
        places = (first + np.arange(span.begin, span.end)) % (len(self.ids) - 1)
        starts = torch.zeros(self.lanes, dtype=torch.bool)
        starts[span.starts] = True
        return Window(
            torch.from_numpy(self.ids[places].astype(np.int64)),
            torch.from_numpy(self.ids[places[:, len(places[0]) - span.stride :] + 1].astype(np.int64)),
            starts,
            span.carry,
        )


class WindowSampler(Sampler[Span]):
    """The windows of an epoch in their order, which is a function of (seed, epoch) alone.

    Windows advance by `stride` steps and reach back over `window` steps: the loss is taken of the last `stride`, the
    gradient flows through all of them (Williams & Peng 1990, there BPTT(h; h')). At the beginning of a lane there is
    less to reach back over. The number of windows is the same in every epoch.
    """

    def __init__(
        self,
        lanes: Lanes,
        window: int,
        stride: int | None = None,
        *,
        random_offset: bool = False,
        random_window: bool = False,
        seed: int = 0,
    ) -> None:
        """Cut each lane into windows.

        Args:
            lanes: the text.
            window: steps that the gradient flows through.
            stride: steps that the loss is taken of; None is `window`.
            random_offset: begin the lanes at another place in each epoch, chosen such that the place where the text
                begins again lies between two windows.
            random_window: move each cut between two windows by up to a quarter of a window either way, in the manner
                of Merity et al. 2017 (arXiv:1708.02182); for windows that follow each other.
            seed: of the random choices.

        Raises:
            ValueError: a window below 1, a stride that is not in 1 … window, or random windows that overlap.
        """
        stride = window if stride is None else stride
        if window < 1 or not 1 <= stride <= window:
            raise ValueError(f"need 1 <= stride <= window, not stride={stride}, window={window}")
        if random_window and stride != window:
            raise ValueError("random windows follow each other: leave the stride out")
        self.lanes, self.window, self.stride = lanes, window, stride
        self.random_offset, self.random_window = random_offset, random_window
        self.seed, self.epoch, self.start = seed, 0, 0

    def set_epoch(self, epoch: int, start: int | None = None) -> None:
        """Choose the epoch whose windows come next, and the first of them; see `EpochSampler`."""
        self.start = start if start is not None else self.start if epoch == self.epoch else 0
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self.lanes.length // self.stride)

    def __iter__(self) -> Iterator[Span]:
        random = np.random.default_rng([self.seed, self.epoch])
        cuts = np.append(np.arange(len(self)) * self.stride, self.lanes.length)  # between the losses of windows
        if self.random_window:
            reach = self.stride // 4
            # The last cut but one stays: what lies beyond it may be a single step.
            cuts[1:-2] += random.integers(-reach, reach, size=max(0, len(cuts) - 3), endpoint=True)
        turn = int(random.integers(len(self))) if self.random_offset else 0  # the window at which the text begins
        steps = len(self.lanes.ids) - 1
        # The last lane comes to the end of the text right before its window `turn`.
        offset = steps - (self.lanes.lanes - 1) * self.lanes.length - int(cuts[turn]) if turn else 0
        for place in range(self.start, len(self)):
            begin = self._begin(cuts, place, turn)
            next_begin = self._begin(cuts, place + 1, turn) if place + 1 < len(self) else int(cuts[-1])
            starts = slice(None) if place == 0 else slice(-1, None) if place == turn else slice(0)
            end = int(cuts[place + 1])
            yield Span(offset, begin, end, end - int(cuts[place]), next_begin - begin, starts)

    def _begin(self, cuts: npt.NDArray[np.int64], place: int, turn: int) -> int:
        """The first step of a window: it reaches back over `window` steps, but not over a beginning."""
        if self.random_window:
            return int(cuts[place])
        return max(int(cuts[place]) + self.stride - self.window, int(cuts[turn]) if place >= turn else 0)


def stretches(ids: npt.NDArray[np.int32], length: int, count: int) -> Tensor:
    """Return (rows, length) ids from at most `count` places of a text, from its beginning to its end."""
    starts = np.unique(np.linspace(0, len(ids) - length, count).astype(np.int64))
    return torch.from_numpy(ids[starts[:, None] + np.arange(length)].astype(np.int64))
