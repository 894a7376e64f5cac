"""Small files that would expand to very much, or take much memory, each read in a process of its own."""

from __future__ import annotations

import gzip
import io
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.faults import parquet
from tests.faults.outcome import Outcome
from tests.scripts import ROOT
from unroll.corpora.files import TextFile, read_rows, read_texts
from unroll.corpora.parquet import class_names
from unroll.corpora.tables import table_suffix
from unroll.corpora.texts import read_text
from unroll.errors import UserError
from unroll.text import characters
from unroll.text.tokenized import tokenize

LIMIT = 1024  # MiB by which a reader's process may grow
ADDRESS_SPACE = 2**33  # bytes that it may ask for: a bomb that goes off does not take the machine with it

LABEL = parquet.dictionary(b"x"), parquet.indices(1000)


def long_text_in_every_row(characters: int) -> bytes:
    """A dictionary holds one long text, and each of 1,000 rows names it."""
    stream = io.BytesIO()
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * 1000, pa.int32()), ["ab " * (characters // 3)])
    pq.write_table(pa.table({"text": texts, "label": [0, 1] * 500}), stream, compression="zstd")
    return stream.getvalue()


def page_of_zeros(name: str, codec: int) -> bytes:
    """A gibibyte in a page: compressed parts may follow each other."""
    packed = pa.compress(bytes(2**20), name, asbytes=True) * 1024
    return parquet.table({"text": (b"", parquet.page(packed, 1, size=2**30)), "label": LABEL}, 1, codec)


def common_start() -> bytes:
    """A text of 2 MB, and 999 that are said to begin as the one before."""
    size = 2_000_000
    content = parquet.delta([0] + [size] * 999) + parquet.delta([size] + [0] * 999) + b"y" * size
    packed = pa.compress(content, "zstd", asbytes=True)
    page = parquet.page(packed, 1000, parquet.DELTA_STRINGS, len(content))
    return parquet.table({"text": (b"", page), "label": LABEL}, 1000, parquet.ZSTD)


def many_lengths() -> bytes:
    """A page of 1,000 texts that says, behind its header, that there are 300,000,000."""
    content = parquet.varint(2**39) + b"\4" + parquet.varint(300_000_000) + bytes(41)
    return parquet.table({"text": (b"", parquet.page(content, 1000, parquet.DELTA_LENGTHS)), "label": LABEL}, 1000)


def lists_in_a_row() -> bytes:
    stream = io.BytesIO()
    lists = pa.ListArray.from_arrays([0, 20_000_000], pa.array([""]).take(pa.array([0] * 20_000_000, pa.int32())))
    pq.write_table(pa.table({"text": lists, "label": [1]}), stream, compression="zstd")
    return stream.getvalue()


def empty_texts() -> bytes:
    rows = 2_000_000_000
    text, label = (parquet.dictionary(value) for value in (b"", b"x"))
    return parquet.table({"text": (text, parquet.indices(rows)), "label": (label, parquet.indices(rows))}, rows)


def deep_class_names() -> bytes:
    stream = io.BytesIO()
    table = pa.table({"text": ["a"], "label": [1]}).replace_schema_metadata({"huggingface": "[" * 1_000_000})
    pq.write_table(table, stream)
    return stream.getvalue()


def other_words() -> bytes:
    rows = (" ".join(f"{number:x}" for number in range(start, start + 1000)) for start in range(0, 10_000_000, 1000))
    return b"text,label\n" + "".join(f"{row},1\n" for row in rows).encode()


BOMBS: dict[str, Callable[[], bytes]] = {
    "a long text in every row.parquet": lambda: long_text_in_every_row(9_000_000),
    "zeros by zstd.parquet": lambda: page_of_zeros("zstd", parquet.ZSTD),
    "zeros by gzip.parquet": lambda: page_of_zeros("gzip", parquet.GZIP),
    "a page of two gigabytes, it says.parquet": lambda: parquet.table(
        {"text": (b"", parquet.page(b"", 1, size=2**31 - 1)), "label": LABEL}, 1, parquet.ZSTD
    ),
    "texts that begin as the one before.parquet": common_start,
    "a count inside of a page.parquet": many_lengths,
    "a dictionary of 2,000,000,000, it says.parquet": lambda: parquet.table(
        {"text": (parquet.dictionary(b"a", 2_000_000_000), parquet.indices(1000)), "label": LABEL}, 1000
    ),
    "lists.parquet": lists_in_a_row,
    "300,000 columns.parquet": lambda: parquet.footer([parquet.column(f"c{number}") for number in range(300_000)]),
    "9,000 columns.parquet": lambda: parquet.footer([parquet.column(f"c{number}") for number in range(9_000)]),
    "2,000,000 chunks.parquet": lambda: parquet.footer(
        [], 0, [parquet.structure({1: (parquet.LIST, parquet.entries(parquet.STRUCT, [b"\x26\0\0"] * 2_000_000))})]
    ),
    "deep names of classes.parquet": deep_class_names,
    "many fields in a row.csv": lambda: b"text,label\n" + b'"a\nb",' * 4_000_000,
    "an open quote.csv": lambda: b'text,label\n"' + b"a\n" * 20_000_000,
    "a long line.csv": lambda: b"text,label\n" + b"a" * 50_000_000,
    "a million columns.csv": lambda: b",".join(b"c%d" % number for number in range(1_000_000)) + b"\n",
    "fields of one wide letter.csv": lambda: "text,label\n{}\n".format("Ā," * 7_900_000).encode(),
    "zeros.csv.gz": lambda: gzip.compress(bytes(200_000_000), 1),
    "a long text.jsonl.gz": lambda: gzip.compress(b'{"text": "' + b"a" * 200_000_000, 1),
    "lists.jsonl": lambda: b'{"text": [' + b"[]," * 5_000_000 + b"[]]}\n",
    "objects.jsonl": lambda: b'{"text": [' + b'{"":0},' * 2_200_000 + b"{}]}\n",
    "deep lists.jsonl": lambda: b"[" * 10_000_000,
    "a deep label.jsonl": lambda: b'{"text": "a", "label": %b1%b}\n' % (b"[" * 900, b"]" * 900),
    "a long number.jsonl": lambda: b'{"text": "a", "label": %b}\n' % (b"1" * 1_000_000),
    "a long name.jsonl": lambda: b'{"%b": 1}\n' % (b"k" * 15_000_000),
    "other words in each row.csv": other_words,
    "a long line.txt": lambda: b"a" * 50_000_000,
    "tokens of one wide letter.jsonl": lambda: '{{"text": "{}", "label": 1}}\n'.format("Ā " * 1_990_000).encode() * 3,
}
LARGE: dict[str, Callable[[], bytes]] = {
    "a text as long as allowed in every row.parquet": lambda: long_text_in_every_row(3_900_000),
    "2,000,000,000 empty texts.parquet": empty_texts,
    "a text with an emoji.novel": lambda: b"\xf0\x9f\x98\x80" + b"a" * 127_999_999,
    "a text of emoji.novel": lambda: b"\xf0\x9f\x98\x80" * 128_000_000,
}


def bombs(folder: Path, names: Iterable[str]) -> Outcome:
    """Read the bombs of these names. Each is refused in one line, or read, and takes less than LIMIT."""
    outcome = Outcome("bombs")
    for name in names:
        (folder / name).write_bytes((BOMBS | LARGE)[name]())
    command = [sys.executable, "-m", "tests.faults.bombs", *(str(folder / name) for name in names)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    for line in result.stdout.splitlines():
        name, growth, kind, message = json.loads(line)
        outcome.tried += 1
        outcome.note("refused" if kind == "refused" else "read")
        outcome.peak = max(growth, outcome.peak or 0)
        if growth > LIMIT or kind == "raised" or "\n" in message:
            outcome.lost.append(f"{name}: {growth:,} MiB, {kind}: {message[:300]}")
    return outcome


def _attack(path: Path) -> None:
    """Read a file in a child of this process; print its name, the MiB by which the child grew, and what came of it."""
    child = os.fork()
    if not child:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
        try:
            answer = "read", _read(path)
        except UserError as error:
            answer = "refused", str(error)
        except BaseException as error:
            answer = "raised", f"{type(error).__name__}: {error}"
        growth = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before >> 10
        print(json.dumps([path.name, growth, answer[0], answer[1][:1000]]), flush=True)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if status:
        print(json.dumps([path.name, 0, "raised", f"its reader ended with {status}"]), flush=True)


def _read(path: Path) -> str:
    if path.suffix == ".novel":
        text, _ = read_text(path)
        return f"{len(characters.count(text))} symbols"
    if not table_suffix(path):
        return f"{sum(1 for _ in read_texts(path))} texts"
    class_names(path, "label")
    return f"{len(tokenize(read_rows(TextFile((path,))), 'basic_english', path))} rows"


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        _attack(Path(argument))
