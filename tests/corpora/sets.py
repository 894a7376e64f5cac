"""Small sets for the hub on this machine, and what its tests share."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.corpora.hub import Hub, parquet
from unroll.corpora.files import Row
from unroll.corpora.labelled import LabelledCorpus, find_corpus
from unroll.errors import DataError, UserError

TRAIN = [Row("a film to train on", 1), Row('<br /> "odd"\x00 😀\r\n', 0), Row("one more", 1)]
TEST = [Row("a film to test on", 0), Row("", 1)]
NAMES = {"label": ["bad", "good"]}


def table(rows: list[Row], class_names: Mapping[str, list[str]] | None = None) -> bytes:
    return parquet({"text": [row.text for row in rows], "label": [row.label for row in rows]}, class_names)


SHARDS = {
    "plain/train-00000-of-00002.parquet": table(TRAIN[:2], NAMES),
    "plain/train-00001-of-00002.parquet": table(TRAIN[2:], NAMES),
    "plain/test-00000-of-00001.parquet": table(TEST, NAMES),
    "plain/unsupervised-00000-of-00001.parquet": table([Row("no label", -1)], NAMES),
}
CARD = b"""---
configs:
- config_name: plain
  data_files:
  - split: train
    path: plain/train-*
  - split: test
    path: plain/test-*
  - split: unsupervised
    path: plain/unsupervised-*
---
# Reviews
"""
TWO = b"""---
configs:
- config_name: big
  data_files: big/*.csv
- config_name: small
  data_files:
  - split: train
    path: small/*.tsv
---
"""
FEATURES = b"""---
dataset_info:
  features:
  - name: text
    dtype: string
  - name: label
    dtype:
      class_label:
        names:
          '0': bad
          '1': good
---
"""
SETS: dict[str, dict[str, bytes]] = {
    "me/reviews": {"README.md": CARD, **SHARDS},
    "me/plain": {
        "data/train.csv": b"review;stars\na;1\nb;2\n",
        "data/validation.csv": b"review;stars\nc;1\n",
        "data/readme.txt": b"no data",
    },
    "me/two": {"README.md": TWO, "big/a.csv": b"text,label\na,1\n", "small/b.tsv": b"text\tlabel\nb\t0\n"},
    "me/card": {"README.md": FEATURES, "train.jsonl": b'{"text": "a", "label": 1}\n'},
    "me/secret": {"train.csv": b"text,label\na,1\nb,0\n", "test.csv": b"text,label\nc,-1\n"},
    "me/script": {"script.py": b"raise SystemExit('ran')", "train.csv": b"text,label\na,1\n"},
    "me/nothing": {"README.md": b"# Nothing\n"},
    "me/pictures": {"train/a.png": b"\x89PNG"},
    "me/tests": {"test.csv": b"text,label\na,1\n"},
    "me/elsewhere": {"README.md": CARD.replace(b"plain/train-*", b"hf://datasets/me/reviews/plain/train-*"), **SHARDS},
}


def get(folder: Path, name: str, source: str = "hub", **options: Any) -> LabelledCorpus:
    return find_corpus(source, None, folder, hub=name, **options)


def refused(folder: Path, name: str, kind: type[UserError] = DataError) -> str:
    """The message of the one-line error that asking for a set raises; nothing may have been left behind."""
    before = files_below(folder)
    with pytest.raises(kind) as error:
        get(folder, name)
    assert files_below(folder) == before
    assert "\n" not in str(error.value)
    return str(error.value)


def files_below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def fetched(hub: Hub) -> list[str]:
    """The files of data that were asked for."""
    paths = (path.partition("?")[0].partition("/resolve/")[2].partition("/")[2] for path, _ in hub.requests)
    return sorted({path for path in paths if path.endswith((".parquet", ".csv", ".tsv", ".jsonl"))})
