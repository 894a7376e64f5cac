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
from unroll.corpora.long_texts import LongText, find_long_text
from unroll.corpora.texts import Text, find_text
from unroll.errors import DataError
from unroll.tasks.data import LAGS, STRETCHES, TaskData
from unroll.text.codec import Codec, Ids, TokenizedText, count
from unroll.text.stored import StoredText, stored
from unroll.text.vocabulary import Vocabulary

MILLION = 2**20
EVALUATION_WINDOW = 1024  # tokens at a time, in one lane; the figures do not depend on it


class LanguageModelingData(TaskData):
    """A text in three parts, in its order, and the tokens of the training part."""

    notes: tuple[str, ...]  # what was changed in the text
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
        """Fetch the text; keep the tokens of a long one on disk.

        Raises:
            DataError: it can't be fetched or read; the message says what to do.
        """
        _ = self._stored if self._long is not None else self._text

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

    @cached_property
    def _long(self) -> LongText | None:
        """The text, where it is one of files that are read in chunks."""
        config = self.config
        if config.path is None:
            return None
        return find_long_text(Path(config.path), config.encoding, config.text_column, config.max_characters)

    @cached_property
    def _stored(self) -> StoredText:
        config, text = self.config, self._long
        assert text is not None
        cut = config.val_fraction, config.test_fraction, config.limit
        learnt = config.tokenizer, config.min_freq, config.max_size
        return stored(
            Path(config.folder),
            [*text.state(), *cut, *learnt],
            text.chunks,
            self._parts,
            lambda counts: Codec.learn(config.tokenizer, counts, config.min_freq, config.max_size),
            config.tokenizer,
        )

    def _parts(self, length: int) -> tuple[tuple[int, int], ...]:
        """Return where the parts of a text of so many characters begin and end."""
        config = self.config
        val_start = round(length * (1 - config.val_fraction - config.test_fraction))
        test_start = round(length * (1 - config.test_fraction))
        end = val_start if config.limit is None else min(val_start, config.limit)  # of the training part
        return (0, end), (val_start, test_start), (test_start, length)

    def setup(self, stage: str | None = None) -> None:
        """Split and encode the text.

        Raises:
            DataError: it is too short for the lanes and windows; the message says what to do.
        """
        if self._is_set_up:
            return
        if self._long is not None:
            self._read_stored(self._long)
        else:
            self._encode(self._text)
            del self._text  # frees memory
        self.vocabulary = self.codec.vocabulary
        self._check_lengths()
        beginning = self.train.ids[:MILLION]
        if (beginning == beginning[0]).all():
            only = self.codec.label(self.vocabulary.tokens[int(beginning[0])])
            raise DataError(f"{self.origin}: the training part holds {only!r} alone; give it a real text")
        self._is_set_up = True

    def _read_stored(self, text: LongText) -> None:
        found = self._stored
        self.source, self.origin, self.notes = "local", str(text), ()
        self.fingerprint, self.codec, self.opening = found.survey.fingerprint, found.codec, found.opening
        self.train, self.val, self.test = found.parts

    def _encode(self, found: Text) -> None:
        config, text = self.config, found.text
        self.source, self.origin, self.notes = found.source, found.origin, found.notes
        self.fingerprint = hashlib.sha256(text.encode()).hexdigest()
        parts = self._parts(len(text))
        counts = count(config.tokenizer, text[: parts[0][1]])
        self.codec = Codec.learn(config.tokenizer, counts, config.min_freq, config.max_size)
        self.train, self.val, self.test = (self.codec.tokenize(text[begin:end]) for begin, end in parts)
        self.opening = self.codec.first(text)

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
        return sum(part.unknown for part in (self.train, self.val, self.test))

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
