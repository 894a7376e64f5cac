"""From a text to windows: finds, splits and encodes a text by its settings."""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor
from torch.utils.data import DataLoader

from unroll.batching.loader import ResumableLoader
from unroll.batching.streams import Lanes, Window, WindowSampler, stretches
from unroll.config import LanguageModelingConfig, TbpttConfig, TextDataConfig
from unroll.corpora.texts import Text, find_text
from unroll.errors import DataError
from unroll.tasks.data import LAGS, STRETCHES, TaskData
from unroll.text import characters
from unroll.text.vocabulary import UNKNOWN_ID, Vocabulary

EVALUATION_WINDOW = 1024  # characters at a time, in one lane; the figures do not depend on it


class LanguageModelingData(TaskData):
    """A text in three parts, in its order, and the characters of the training part."""

    vocabulary: Vocabulary
    opening: str  # the training part's first character
    train: npt.NDArray[np.int32]
    val: npt.NDArray[np.int32]
    test: npt.NDArray[np.int32]

    def __init__(self, config: LanguageModelingConfig) -> None:
        super().__init__()
        self.config, self.tbptt, self.seed = config.data, config.tbptt, config.seed
        self._is_set_up = False

    def prepare_data(self) -> None:
        """Fetch the text.

        Raises:
            DataError: it can't be fetched or read; the message says what to do.
        """
        _ = self._text

    @cached_property
    def _text(self) -> Text:
        config = self.config
        path = Path(config.path) if config.path else None
        return find_text(
            config.source,
            path,
            Path(config.folder),
            gutenberg=config.gutenberg,
            encoding=config.encoding,
            max_characters=config.max_characters,
        )

    def setup(self, stage: str | None = None) -> None:
        """Split and encode the text.

        Raises:
            DataError: it is too short for the lanes and windows; the message says what to do.
        """
        if self._is_set_up:
            return
        config, found = self.config, self._text
        self.source, self.origin, self.notes = found.source, found.origin, found.notes
        text = found.text
        self.fingerprint = hashlib.sha256(text.encode()).hexdigest()
        val_start = round(len(text) * (1 - config.val_fraction - config.test_fraction))
        test_start = round(len(text) * (1 - config.test_fraction))
        end = val_start if config.limit is None else min(val_start, config.limit)  # of the training part
        _check_lengths(self.origin, end, test_start - val_start, len(text) - test_start, config, self.tbptt)
        counts = characters.count(text[:end])
        if len(counts) == 1:
            raise DataError(f"{self.origin}: the training part holds {next(iter(counts))!r} alone; give it a real text")
        self.vocabulary = Vocabulary.build(counts, min_freq=config.min_freq)
        self.opening = text[0]
        ids = characters.encode(text, self.vocabulary)
        self.train, self.val, self.test = ids[:end], ids[val_start:test_start], ids[test_start:]
        del self._text  # frees memory
        self._is_set_up = True

    def describe(self) -> dict[str, Any]:
        return super().describe() | {
            "vocabulary": len(self.vocabulary),
            "unknown": self.unknown,
        }

    def about(self) -> dict[str, Any]:
        return {
            "tokenizer": "characters",
            "vocabulary": list(self.vocabulary.tokens),
            "labels": [],
            "opening": self.opening,
        }

    def report(self) -> list[str]:
        unknown = f"{self.unknown:,} characters are none of these symbols and are read as <unk>"
        return [
            f"characters: {len(self.train):,} train, {len(self.val):,} val, {len(self.test):,} test; "
            f"{len(self.vocabulary) - 2:,} symbols",
            *(f"  {note}" for note in (*self.notes, *([unknown] if self.unknown else []))),
        ]

    def probe_rows(self) -> Tensor:
        return stretches(self.val, min(LAGS + 1, len(self.val)), STRETCHES)

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
        return ResumableLoader(lanes, sampler, self.config.workers)

    def val_dataloader(self) -> DataLoader[Window]:
        return evaluation_loader(self.val)

    def test_dataloader(self) -> DataLoader[Window]:
        return evaluation_loader(self.test)


def evaluation_loader(ids: npt.NDArray[np.int32]) -> DataLoader[Window]:
    """Return a loader of the text as one stream."""
    lanes = Lanes(ids, 1)
    return ResumableLoader(lanes, WindowSampler(lanes, EVALUATION_WINDOW))


def _check_lengths(origin: str, train: int, val: int, test: int, config: TextDataConfig, tbptt: TbpttConfig) -> None:
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
