"""One long text, read window by window in parallel lanes: the batches of truncated backpropagation through time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from unroll.batching.loader import EpochSampler
from unroll.batching.part import Part


class Window(NamedTuple):
    """The next window of every lane."""

    ids: Tensor  # (lanes, time) int64
    targets: Tensor  # (lanes, stride) int64: what follows each of the last `stride` ids
    starts: Tensor  # (lanes,) bool: lanes that begin here, with a zero state
    carry: int  # steps after which the state is the next window's first state
    part: Part | None = None  # of the lanes, where several processes share them

    @property
    def num_tokens(self) -> int:
        """The tokens that are predicted, in all lanes."""
        return self.targets.numel() if self.part is None else self.part.num_tokens

    @property
    def num_examples(self) -> int:
        """The same tokens; the batch's mean loss is over these."""
        return self.num_tokens


class Span(NamedTuple):
    """A window's place in its epoch, in steps from the beginning of each lane."""

    offset: int  # where the first lane begins in the text
    begin: int
    end: int
    stride: int  # steps with a loss, at the end of the window
    carry: int  # steps from `begin` to the `begin` of the next window
    starts: slice  # lanes that begin here


@dataclass(frozen=True)
class Lanes(Dataset[Window]):
    """A text of N tokens as `lanes` contiguous stretches of (N - 1) // lanes steps each.

    A step reads a token and predicts the next one, so N tokens are N - 1 steps. Fewer steps than there are
    lanes are left out. With an offset, the text is read as a ring; no state is carried from its end to its beginning.
    Of several processes, each has a stretch of neighbouring lanes, see `own_lanes`.
    """

    ids: npt.NDArray[np.int32]  # (N,)
    lanes: int
    rank: int = 0
    world_size: int = 1

    @property
    def length(self) -> int:
        """The steps of each lane."""
        return (len(self.ids) - 1) // self.lanes

    def __len__(self) -> int:
        """The steps of an epoch: the tokens that are predicted."""
        return self.length * self.lanes

    def __getitem__(self, span: Span) -> Window:
        own = own_lanes(self.lanes, self.rank, self.world_size)
        first = span.offset + np.arange(self.lanes)[own, None] * self.length
        places = (first + np.arange(span.begin, span.end)) % (len(self.ids) - 1)
        starts = torch.zeros(self.lanes, dtype=torch.bool)
        starts[span.starts] = True
        part = None
        if self.world_size > 1:
            tokens = self.lanes * span.stride
            part = Part(len(first) * self.world_size / self.lanes, tokens, tokens)
        return Window(
            torch.from_numpy(self.ids[places].astype(np.int64)),
            torch.from_numpy(self.ids[places[:, len(places[0]) - span.stride :] + 1].astype(np.int64)),
            starts[own],
            span.carry,
            part,
        )


class WindowSampler(EpochSampler[Span]):
    """The windows of an epoch, which depend on the seed and the epoch alone. Their number is always the same.

    A window has `window` steps. The loss is computed at the last `stride` of them, and the gradient flows through all
    (Williams & Peng 1990 call it BPTT(h; h')). The next window comes `stride` steps later. At the beginning of a lane
    windows are shorter.
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
            stride: steps with a loss; None means `window`.
            random_offset: begin the lanes at another place of the text in each epoch. The text's own beginning then
                lies between two windows.
            random_window: move each cut between two windows by up to a quarter of a window, as Merity et al. 2017
                (arXiv:1708.02182) vary their lengths. It needs windows that do not overlap.
            seed: of the random choices.

        Raises:
            ValueError: the window is below 1, the stride is not in 1 … window, or random windows would overlap.
        """
        stride = window if stride is None else stride
        if window < 1 or not 1 <= stride <= window:
            raise ValueError(f"need 1 <= stride <= window, not stride={stride}, window={window}")
        if random_window and stride != window:
            raise ValueError("random windows must not overlap: leave the stride out")
        self.lanes, self.window, self.stride = lanes, window, stride
        self.random_offset, self.random_window = random_offset, random_window
        self.seed = seed

    def __len__(self) -> int:
        return -(-self.lanes.length // self.stride)

    def __iter__(self) -> Iterator[Span]:
        random = np.random.default_rng([self.seed, self.epoch])
        cuts = np.append(
            np.arange(len(self)) * self.stride, self.lanes.length
        )  # window k has a loss from cut k to k + 1
        if self.random_window:
            reach = self.stride // 4
            # The last cut but one stays: the last window may have a single step.
            cuts[1:-2] += random.integers(-reach, reach, size=max(0, len(cuts) - 3), endpoint=True)
        turn = int(random.integers(len(self))) if self.random_offset else 0  # the window where the text begins
        steps = len(self.lanes.ids) - 1
        # The last lane reaches the end of the text just before its window `turn`.
        offset = steps - (self.lanes.lanes - 1) * self.lanes.length - int(cuts[turn]) if turn else 0
        for place in range(self.start, len(self)):
            begin = self._begin(cuts, place, turn)
            next_begin = self._begin(cuts, place + 1, turn) if place + 1 < len(self) else int(cuts[-1])
            starts = slice(None) if place == 0 else slice(-1, None) if place == turn else slice(0)
            end = int(cuts[place + 1])
            yield Span(offset, begin, end, end - int(cuts[place]), next_begin - begin, starts)

    def _begin(self, cuts: npt.NDArray[np.int64], place: int, turn: int) -> int:
        """Return the first step of a window: `window` steps before its end, or where its lane or the text begins."""
        if self.random_window:
            return int(cuts[place])
        return max(int(cuts[place]) + self.stride - self.window, int(cuts[turn]) if place >= turn else 0)


def own_lanes(lanes: int, rank: int, world_size: int) -> slice:
    """Return the lanes of a rank, as `torch.tensor_split` cuts them: the first ranks have one more where not all can
    have as many.

    >>> [own_lanes(5, rank, 2) for rank in range(2)]
    [slice(0, 3, None), slice(3, 5, None)]
    """
    each, more = divmod(lanes, world_size)
    begin = rank * each + min(rank, more)
    return slice(begin, begin + each + (rank < more))


def stretches(ids: npt.NDArray[np.int32], length: int, count: int) -> Tensor:
    """Return ids (rows, length) from at most `count` places, evenly spread over a text."""
    starts = np.unique(np.linspace(0, len(ids) - length, count).astype(np.int64))
    return torch.from_numpy(ids[starts[:, None] + np.arange(length)].astype(np.int64))
