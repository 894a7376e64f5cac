"""From a text to windows: characters, splits, vocabulary, lanes."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from unroll.batching.streams import Lanes, Window, WindowSampler, make_loader
from unroll.config import NovelConfig, TbpttConfig
from unroll.corpora.novel import find_novel
from unroll.errors import DataError
from unroll.text import characters
from unroll.text.vocabulary import UNKNOWN_ID, Vocabulary

EVALUATION_WINDOW = 1024  # characters at a time, in one lane; the figures do not depend on it


class NovelData(LightningDataModule):
    """A text in three parts, in its order, and the characters of the training part."""

    def __init__(self, config: NovelConfig, tbptt: TbpttConfig, seed: int) -> None:
        """Read, split and encode the text that `config` asks for.

        Raises:
            DataError: the text can't be had, or is too short for the lanes and windows; the message says what to do.
        """
        super().__init__()
        self.config, self.tbptt, self.seed = config, tbptt, seed
        self.position = 0, 0  # the epoch that training begins with, and the batch in it
        novel = find_novel(config.source, Path(config.path) if config.path else None, Path(config.folder))
        self.source, self.origin, self.notes = novel.source, novel.origin, novel.notes
        self.fingerprint = hashlib.sha256(novel.text.encode()).hexdigest()
        text = novel.text
        val_start = round(len(text) * (1 - config.val_fraction - config.test_fraction))
        test_start = round(len(text) * (1 - config.test_fraction))
        train = text[: val_start if config.limit is None else min(val_start, config.limit)]
        _check_lengths(self.origin, len(train), test_start - val_start, len(text) - test_start, config, tbptt)
        counts = characters.count(train)
        if len(counts) == 1:
            raise DataError(f"{self.origin}: the training part holds {next(iter(counts))!r} alone; give it a real text")
        self.vocabulary = Vocabulary.build(counts, min_freq=config.min_freq)
        self.opening = train[0]
        self.train = characters.encode(train, self.vocabulary)
        self.val = characters.encode(text[val_start:test_start], self.vocabulary)
        self.test = characters.encode(text[test_start:], self.vocabulary)

    def describe(self) -> dict[str, object]:
        """Return what `summary.json` says of the data."""
        return {
            "source": self.source,
            "origin": self.origin,
            "fingerprint": self.fingerprint,
            "train": len(self.train),
            "val": len(self.val),
            "test": len(self.test),
            "vocabulary": len(self.vocabulary),
            "unknown": self.unknown,
        }

    @property
    def unknown(self) -> int:
        """Characters, in all parts, that the vocabulary does not hold."""
        return sum(int((part == UNKNOWN_ID).sum()) for part in (self.train, self.val, self.test))

    def train_dataloader(self) -> DataLoader[Window]:
        lanes = Lanes(self.train, self.config.batch_size)
        sampler = WindowSampler(
            lanes,
            self.tbptt.window,
            self.tbptt.stride,
            random_offset=self.config.random_offset,
            random_window=self.tbptt.random_window,
            seed=self.seed,
        )
        sampler.set_epoch(*self.position)
        return make_loader(lanes, sampler, self.config.workers)

    def val_dataloader(self) -> DataLoader[Window]:
        return evaluation_loader(self.val)

    def test_dataloader(self) -> DataLoader[Window]:
        return evaluation_loader(self.test)


def evaluation_loader(ids: npt.NDArray[np.int32]) -> DataLoader[Window]:
    """Return a loader of the text as one stream."""
    lanes = Lanes(ids, 1)
    return make_loader(lanes, WindowSampler(lanes, EVALUATION_WINDOW))


def _check_lengths(origin: str, train: int, val: int, test: int, config: NovelConfig, tbptt: TbpttConfig) -> None:
    """Refuse what leaves a part empty, or lanes that are shorter than a window."""
    if min(val, test) < 2:
        raise DataError(
            f"{origin}: its {train + val + test:,} characters leave {val} for validation and {test} for the test; "
            "give it a longer text, or raise data.val_fraction and data.test_fraction"
        )
    lanes, window, steps = config.batch_size, tbptt.window, max(0, train - 1)
    if steps < window:
        raise DataError(
            f"{origin}: its {train:,} training characters are less than tbptt.window={window} and one more; "
            f"write tbptt.window={max(1, steps)} or less, or give it a longer text"
        )
    if steps // lanes < window:
        raise DataError(
            f"{origin}: its {train:,} training characters in data.batch_size={lanes} lanes make {steps // lanes} a "
            f"lane, less than tbptt.window={window}; write data.batch_size={steps // window} or less"
        )
