"""What reading tables costs: memory that does not grow with the file, and no slow import."""

import csv
import json
import subprocess
import sys
import tracemalloc
from collections import deque
from pathlib import Path
from random import Random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from unroll.corpora.tables import read_table
from unroll.errors import DataError


def write(path: Path, texts: list[str]) -> None:
    if path.suffix == ".parquet":  # one row group
        pq.write_table(pa.table({"text": texts}), path)
    elif path.suffix == ".csv":
        with path.open("w", newline="") as stream:
            csv.writer(stream).writerows([["text"], *([text] for text in texts)])
    else:
        path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_reading_takes_constant_memory(tmp_path: Path, suffix: str) -> None:
    """Python's allocator sees pyarrow's reads, too, since the file it reads from is a Python object."""
    path = tmp_path / f"t{suffix}"
    random = Random(0)
    texts = [random.randbytes(500).hex() for _ in range(20_000)]
    write(path, texts)
    assert path.stat().st_size > 20_000_000
    expected = len(texts), texts[-1]
    del texts

    next(read_table(path, ["text"]))  # imports are paid for before the measurement
    tracemalloc.start()
    try:
        [(count, (last,))] = deque(enumerate(read_table(path, ["text"]), 1), maxlen=1)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (count, last) == expected
    assert peak < 5_000_000, "bytes"


def test_importing_is_cheap() -> None:
    script = "import sys, unroll.corpora.files, unroll.corpora.labelled, unroll.corpora.texts; print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not {"datasets", "pyarrow", "huggingface_hub", "torch", "numpy"} & set(result.stdout.split())


def test_statistics_that_do_not_fit_the_schema_do_not_end_the_process(tmp_path: Path) -> None:
    """pyarrow aborts if it is asked for a column that can't be null, and whose statistics count nulls."""
    path = tmp_path / "table.parquet"
    pq.write_table(pa.table({"text": ["a", None, "b"], "label": [0, 1, 0]}), path)
    optional, required = (
        b"\x25\x02\x18\x04text",
        b"\x25\x00\x18\x04text",
    )  # and the column's name
    content = path.read_bytes()
    assert content.count(optional) == 1
    path.write_bytes(content.replace(optional, required))
    with pytest.raises(DataError, match="damaged parquet, in or after row 1"):
        list(read_table(path, ["text", "label"]))
