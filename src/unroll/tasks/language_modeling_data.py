"""From a text to windows: finds, splits and encodes a text by its settings."""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader

from unroll import ranks
from unroll.batching.loader import ResumableLoader
from unroll.batching.streams import Lanes, Window, WindowSampler, stretches
from unroll.config import LanguageModelingConfig
from unroll.corpora.texts import Text, find_text
from unroll.errors import DataError
from unroll.tasks.data import LAGS, STRETCHES, TaskData
from unroll.text.codec import Codec, Ids, TokenizedText, count
from unroll.text.vocabulary import UNKNOWN_ID, Vocabulary

EVALUATION_WINDOW = 1024  # tokens at a time, in one lane; the figures do not depend on it


class LanguageModelingData(TaskData):
    """A text in three parts, in its order, and the tokens of the training part."""

    codec: Codec
    vocabulary: Vocabulary  # the codec's
    opening: str  # the training part's first token
    train: TokenizedText
    val: TokenizedText
    test: TokenizedText

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
        counts = count(config.tokenizer, text[:end])
        self.codec = Codec.learn(config.tokenizer, counts, config.min_freq, config.max_size)
        self.vocabulary = self.codec.vocabulary
        parts = ((0, end), (val_start, test_start), (test_start, len(text)))
        self.train, self.val, self.test = (self.codec.tokenize(text[begin:stop]) for begin, stop in parts)
        self._check_lengths()
        if len(counts) == 1:
            only = self.codec.label(next(iter(counts)))
            raise DataError(f"{self.origin}: the training part holds {only!r} alone; give it a real text")
        self.opening = self.codec.first(text)
        del self._text  # frees memory
        self._is_set_up = True

    def describe(self) -> dict[str, Any]:
        return super().describe() | {
            "tokenizer": self.codec.name,
            "vocabulary": len(self.vocabulary),
            "unknown": self.unknown,
            "characters_per_token": round(self.train.size.characters, 4),
        }

    def about(self) -> dict[str, Any]:
        return self.codec.about() | {"labels": [], "opening": self.opening}

    def report(self) -> list[str]:
        unit, size = self.codec.rule.unit, self.train.size.characters
        notes = {
            **dict.fromkeys(self.notes, True),
            f"{self.unknown:,} {unit} are none of these symbols and are read as <unk>": self.unknown,
            f"{size:.2f} characters per token": size != 1,
        }
        return [
            f"{unit}: {len(self.train):,} train, {len(self.val):,} val, {len(self.test):,} test; "
            f"{len(self.vocabulary) - 2:,} symbols",
            *(f"  {note}" for note, applies in notes.items() if applies),
        ]

    def probe_rows(self) -> Tensor:
        return stretches(self.val.ids, min(LAGS + 1, len(self.val)), STRETCHES)

    @property
    def unknown(self) -> int:
        """Tokens, in all parts, that the vocabulary does not hold."""
        return sum(int((part.ids == UNKNOWN_ID).sum()) for part in (self.train, self.val, self.test))

    def train_dataloader(self) -> DataLoader[Window]:
        lanes = Lanes(self.train.ids, self.config.batch_size, ranks.rank(), ranks.world_size())
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
        return evaluation_loader(self.val.ids)

    def test_dataloader(self) -> DataLoader[Window]:
        return evaluation_loader(self.test.ids)

    def _check_lengths(self) -> None:
        """Refuse what leaves a part empty, or lanes that are shorter than a window."""
        unit, train, val, test = self.codec.rule.unit, len(self.train), len(self.val), len(self.test)
        if min(val, test) < 2:
            raise DataError(
                f"{self.origin}: its {train + val + test:,} {unit} leave {val} for validation and {test} for the test; "
                "give it a longer text, or raise data.val_fraction and data.test_fraction"
            )
        lanes, window, steps = self.config.batch_size, self.tbptt.window, max(0, train - 1)
        if steps < window:
            raise DataError(
                f"{self.origin}: its {train:,} training {unit} are less than tbptt.window={window} and one more; "
                f"write tbptt.window={max(1, steps)} or less, or give it a longer text"
            )
        if steps // lanes < window:
            raise DataError(
                f"{self.origin}: its {train:,} training {unit} in data.batch_size={lanes} lanes make {steps // lanes} "
                f"a lane, less than tbptt.window={window}; write data.batch_size={steps // window} or less"
            )


def evaluation_loader(ids: Ids) -> DataLoader[Window]:
    """Return a loader of the text as one stream. Every rank reads all of it: the state goes from its beginning to its
    end, so it can't be shared out."""
    lanes = Lanes(ids, 1)
    return ResumableLoader(lanes, WindowSampler(lanes, EVALUATION_WINDOW))
