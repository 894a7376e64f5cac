"""Memory does not grow with the texts, and with the rows of a table by a few numbers a row. `make slow` runs this."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.scale import write_reviews, write_text
from tests.scripts import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="/proc tells the peak"),
]

READ = """
import itertools, pathlib, re, sys
from unroll.compose import compose
from unroll.tasks.spec import load_data

data = load_data(compose(sys.argv[1:]))
data.report()
for batch in itertools.islice(data.train_dataloader(), 20):
    pass
print(re.search(r"VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1])
"""


def peak(*settings: str) -> int:
    """The peak memory, in bytes, of a process that reads data and makes some batches."""
    result = subprocess.run(
        [sys.executable, "-c", READ, *settings], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return 1024 * int(result.stdout)


def test_reviews_take_a_few_numbers_a_row(tmp_path: Path) -> None:
    """Reviews of 20 words took 580 bytes each while their ids and labels were kept in memory, and 190 while all that is
    known of a row was. The rest is 20 bytes, and the words that more rows bring."""
    counts, peaks = (200_000, 1_200_000), []
    for count in counts:
        path = tmp_path / f"{count}.parquet"
        write_reviews(path, count)
        settings = ("task=classification", f"data.path={path}", f"data.folder={tmp_path / 'data'}")
        peaks.append([peak(*settings), peak(*settings)])  # tokenising, and from the cache
    for few, many in zip(*peaks, strict=True):
        assert (many - few) / (counts[1] - counts[0]) < 100


def test_a_text_takes_none(tmp_path: Path) -> None:
    peaks = []
    for megabytes in (20, 80):
        path = tmp_path / f"{megabytes}.txt"
        write_text(path, megabytes)
        settings = ("task=language_modeling", f"data.path={path}", f"data.folder={tmp_path / 'data'}")
        peaks.append(peak(*settings, "data.max_characters=1000"))
    assert peaks[1] - peaks[0] < 20 * 2**20
