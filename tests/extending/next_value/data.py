"""A numeric sequence as windows, each with the value that follows it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from unroll.batching.documents import BucketSampler
from unroll.batching.loader import ResumableLoader
from unroll.config import Config, DataConfig
from unroll.config.fields import setting
from unroll.errors import DataError
from unroll.tasks.data import TaskData


@dataclass
class SeriesConfig(DataConfig):
    """`path` is a file with a number on each line."""

    window: int = setting(16, 1)  # values that the next one is predicted from
    batch_size: int = setting(8, 1)


@dataclass
class NextValueConfig(Config):
    kind: str = "next_value"
    task: str = "next_value"
    data: SeriesConfig = field(default_factory=SeriesConfig)


class Batch(NamedTuple):
    x: Tensor  # (batch, window, 1)
    y: Tensor  # (batch,)

    @property
    def num_tokens(self) -> int:
        return self.x.numel()

    @property
    def num_examples(self) -> int:
        return len(self.y)


@dataclass
class Windows(Dataset[Batch]):
    values: Tensor  # (values,)
    window: int

    def __len__(self) -> int:
        return len(self.values) - self.window

    def __getitem__(self, rows: list[int]) -> Batch:
        windows = self.values.unfold(0, self.window + 1, 1)[rows]
        return Batch(windows[:, :-1, None], windows[:, -1])


class Series(TaskData):
    def __init__(self, config: NextValueConfig) -> None:
        super().__init__()
        self.config, self.seed = config.data, config.seed

    def setup(self, stage: str | None = None) -> None:
        if self.config.path is None:
            raise DataError("there is no series to read; write data.path=FILE")
        text = Path(self.config.path).read_text()
        values = torch.tensor([float(line) for line in text.split()])
        self.source, self.origin = "local", self.config.path
        self.fingerprint = hashlib.sha256(text.encode()).hexdigest()
        parts = values.split([len(values) * 8 // 10, len(values) // 10, len(values) - len(values) * 9 // 10])
        self.train, self.val, self.test = (Windows(part, self.config.window) for part in parts)

    def report(self) -> list[str]:
        return [f"windows: {len(self.train):,} train, {len(self.val):,} val, {len(self.test):,} test"]

    def train_dataloader(self) -> DataLoader[Batch]:
        return self._loader(self.train, self.seed)

    def val_dataloader(self) -> DataLoader[Batch]:
        return self._loader(self.val)

    def test_dataloader(self) -> DataLoader[Batch]:
        return self._loader(self.test)

    def _loader(self, windows: Windows, seed: int | None = None) -> DataLoader[Batch]:
        lengths = torch.ones(len(windows), dtype=torch.long).numpy()
        return ResumableLoader(windows, BucketSampler(lengths, batch_size=self.config.batch_size, seed=seed))
