"""A checkpoint is data: hostile, damaged and foreign files are refused in one line, and nothing in them runs."""

from __future__ import annotations

import copy
import hashlib
import io
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.faults import checkpoint_bombs as bombs
from tests.faults.hostile import little_memory
from unroll import checkpoint
from unroll.checkpoint import archive
from unroll.errors import CheckpointError

CONTENT: dict[str, Any] = {
    "format": checkpoint.FORMAT,
    "task": "imdb",
    "config": {"seed": 1},
    "vocabulary": ["<pad>", "<unk>", "ü"],
    "tokenizer": "basic_english",
    "labels": ["a", "b"],
    "data": {"source": "local", "origin": "x.csv", "fingerprint": "0"},
    "versions": {"torch": "2"},
    "state_dict": {"weight": torch.arange(6.0).view(2, 3)},
}


class Payload:
    """Unpickled without care, it makes a folder."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.target),)


def sealed(path: Path, content: bytes | Any) -> Path:
    """A file as anyone could make it, its checksum right: bytes, or what torch makes of other content."""
    if not isinstance(content, bytes):
        buffer = io.BytesIO()
        torch.save(content, buffer)
        content = buffer.getvalue()
    path.write_bytes(content + b"\nsha256:" + hashlib.sha256(content).hexdigest().encode())
    return path


def refused(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        checkpoint.load(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    checkpoint.save(CONTENT, tmp_path / "deep" / "model.ckpt")
    loaded = checkpoint.load(tmp_path / "deep" / "model.ckpt")
    assert torch.equal(loaded.pop("state_dict")["weight"], CONTENT["state_dict"]["weight"])
    assert loaded == {name: value for name, value in CONTENT.items() if name != "state_dict"}


def test_a_failed_save_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "model.ckpt"
    checkpoint.save(CONTENT, path)
    before = path.read_bytes()
    with pytest.raises((AttributeError, pickle.PicklingError)):
        checkpoint.save(CONTENT | {"bad": lambda: None}, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("where", ["alone", "beside tensors", "plain pickle"])
def test_a_payload_does_not_run(tmp_path: Path, where: str) -> None:
    target, path = tmp_path / "payload", tmp_path / "model.ckpt"
    if where == "plain pickle":
        sealed(path, pickle.dumps(Payload(target), protocol=2))
    else:
        sealed(path, Payload(target) if where == "alone" else CONTENT | {"config": Payload(target)})
    assert "nothing in it was run" in refused(path)
    assert not target.exists()


def test_missing_and_unreadable_files_are_named(tmp_path: Path) -> None:
    assert "no such checkpoint" in refused(tmp_path / "none.ckpt")
    assert "can't be read" in refused(tmp_path)


def test_the_checksum_is_the_sha_256_of_what_torch_wrote(tmp_path: Path) -> None:
    checkpoint.save(CONTENT, tmp_path / "model.ckpt")
    content, _, digest = (tmp_path / "model.ckpt").read_bytes().rpartition(b"\nsha256:")
    assert digest.decode() == hashlib.sha256(content).hexdigest()
    assert torch.load(io.BytesIO(content), weights_only=True)["task"] == "imdb"


def test_one_bit_anywhere_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "model.ckpt"
    checkpoint.save(CONTENT, path)
    whole = path.read_bytes()
    for place in range(0, len(whole), 23):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        assert "damaged" in refused(path)


@pytest.mark.parametrize("size", [0, 1, 100, 1000])
def test_a_truncated_file_is_refused(tmp_path: Path, size: int) -> None:
    path = tmp_path / "model.ckpt"
    checkpoint.save(CONTENT, path)
    path.write_bytes(path.read_bytes()[:size])
    assert "damaged" in refused(path)


@pytest.mark.parametrize("key", list(checkpoint.SCHEMA))
def test_an_entry_that_is_missing_or_of_another_type_is_named(tmp_path: Path, key: str) -> None:
    path = tmp_path / "model.ckpt"
    group, _, name = key.rpartition(".")
    content = copy.deepcopy(CONTENT)
    entries = content[group] if group else content
    entries[name] = 1.5
    assert f"'{key}'" in refused(sealed(path, content))
    del entries[name]
    assert f"'{key}'" in refused(sealed(path, content))


def test_other_content_and_another_format_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.ckpt"
    sealed(path, [1, 2])
    assert "it holds a list" in refused(path)
    sealed(path, CONTENT | {"format": checkpoint.FORMAT + 1})
    assert "upgrade unroll" in refused(path)


def test_a_compressed_file_is_refused(tmp_path: Path) -> None:
    """A few bytes of it could become more than there is memory for."""
    buffer, packed = io.BytesIO(), io.BytesIO()
    torch.save(CONTENT, buffer)
    with zipfile.ZipFile(buffer) as plain, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in plain.namelist():
            archive.writestr(name, plain.read(name))
    assert torch.load(io.BytesIO(packed.getvalue()), weights_only=True)["task"] == "imdb"  # torch would read it
    assert "damaged" in refused(sealed(tmp_path / "model.ckpt", packed.getvalue()))


def zipped(content: Any) -> tuple[bytes, bytes, int]:
    """What `torch.save` writes: the parts, the list of them, and their number, all in the plainest form."""
    buffer, plain = io.BytesIO(), io.BytesIO()
    torch.save(content, buffer)
    with zipfile.ZipFile(buffer) as archive, zipfile.ZipFile(plain, "w") as copy:
        for name in archive.namelist():
            copy.writestr(f"x/{name.partition('/')[2]}", archive.read(name))
    data = plain.getvalue()
    number, size, start = struct.unpack("<HLL", data[-22:][10:20])
    return data[:start], data[start : start + size], number


def behind_a_legacy_file() -> bytes:
    legacy, honest = io.BytesIO(), io.BytesIO()
    torch.save({"task": "other"}, legacy, _use_new_zipfile_serialization=False)
    torch.save(CONTENT, honest)
    return legacy.getvalue() + honest.getvalue()


def with_a_second_program() -> bytes:
    buffer, other = io.BytesIO(), io.BytesIO()
    torch.save(CONTENT, buffer)
    torch.save({"task": "other"}, other)
    with zipfile.ZipFile(other) as archive, zipfile.ZipFile(buffer, "a") as honest:
        folder = honest.namelist()[0].partition("/")[0]
        honest.writestr(f"{folder}/DATA.PKL", archive.read(next(n for n in archive.namelist() if "data.pkl" in n)))
    return buffer.getvalue()


def with_two_lists_of_parts() -> bytes:
    """`zipfile` takes the list before the end, torch that at the place which the end names."""
    parts, listed, number = zipped({"task": "other", "pad": "a" * 3000})
    honest, honest_list, same_number = zipped({"task": "imdb"})
    assert (len(listed), number) == (len(honest_list), same_number)
    moved, place = bytearray(honest_list), 0
    while place < len(moved):
        name, extra, comment = struct.unpack("<HHH", moved[place + 28 : place + 34])
        (start,) = struct.unpack("<L", moved[place + 42 : place + 46])
        moved[place + 42 : place + 46] = struct.pack("<L", start + len(parts) - len(honest))
        place += 46 + name + extra + comment
    end = struct.pack("<HHHHLLH", 0, 0, number, number, len(listed), len(parts), 0)
    return parts + listed + honest + bytes(moved) + b"PK\5\6" + end


@pytest.mark.parametrize("make", [behind_a_legacy_file, with_a_second_program, with_two_lists_of_parts])
def test_what_is_checked_is_what_torch_reads(tmp_path: Path, make: Callable[[], bytes]) -> None:
    content = make()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:  # what an honest reader finds is harmless
        program = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
        assert b"imdb" in archive.read(program)
    assert torch.load(io.BytesIO(content), weights_only=True)["task"] == "other"  # and torch reads something else
    assert "damaged, or not a checkpoint of unroll (it " in refused(sealed(tmp_path / "model.ckpt", content))


def test_a_pipe_is_no_checkpoint(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.ckpt")
    assert "it is no regular file" in refused(tmp_path / "model.ckpt")


def same(one: Any, other: Any) -> bool:
    """Equal in types, values and bits."""
    if type(one) is not type(other):
        return False
    if isinstance(one, torch.Tensor):
        alike = one.dtype == other.dtype and one.stride() == other.stride() and one.device == other.device
        return alike and torch.equal(one, other)
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def test_what_torch_reads_is_what_is_read(tmp_path: Path) -> None:
    """Of everything that Lightning and this package save."""
    model = nn.LSTM(3, 4, 2)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    model(torch.randn(5, 2, 3))[0].sum().backward()
    optimizer.step()
    tied = torch.randn(4, 6)
    kinds = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16]
    content = (
        CONTENT
        | {
            "state_dict": model.state_dict(),  # with the versions of its modules
            "optimizer_states": [optimizer.state_dict()],
            "tensors": [torch.arange(6).to(kind) for kind in [*kinds, torch.int8, torch.uint8, torch.bool]],
            "views": [tied, tied.t(), tied[1:], tied[:, ::2], tied[0, 0], tied[:0], torch.zeros(0), torch.zeros(())],
            "numbers": [0, 255, 256, 65536, -1, 2**40, -(2**63), 2**63 - 1, 1.5, float("inf"), -0.0, True, False, None],
            "texts": ["", "a\x00b", "ü", "\ud83d", "😀", "a" * 2**20],
            "nested": {"a": ({}, [], (), [1], (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)), 3: {4: "five"}},
        }
    )
    checkpoint.save(content, tmp_path / "model.ckpt")
    loaded = checkpoint.load(tmp_path / "model.ckpt")
    expected = torch.load(tmp_path / "model.ckpt", weights_only=True)
    assert same(loaded, expected)
    assert vars(loaded["state_dict"]) == vars(expected["state_dict"])
    whole, turned = loaded["views"][:2]
    turned[0, 0] = 7.0
    assert whole[0, 0] == 7.0  # they share their numbers, as before


def test_no_bomb_goes_off(tmp_path: Path) -> None:
    """Each is refused; they are made one after the other, since together they take long to make."""
    messages = {}
    for name, content in bombs.files(CONTENT):
        with little_memory():
            messages[name] = refused(sealed(tmp_path / "model.ckpt", content))
    assert len(messages) > 50
    for name, message in messages.items():
        assert len(message) < 300 + len(str(tmp_path)), name
        assert "not a checkpoint of unroll" in message, name
        assert "memory" not in message, name


def test_torch_alone_would_hold_what_a_bomb_asks_for() -> None:
    """Why it does not read checkpoints here."""
    small = bombs.archive(b"cbuiltins\nbytearray\n" + bombs.number(2**24) + b"\x85R.")
    assert len(small) < 600
    assert len(torch.load(io.BytesIO(small), weights_only=True)) == 2**24


@pytest.mark.parametrize(
    ("bound", "most", "message"),
    [
        ("LARGEST_PICKLE", 500, "besides its tensors"),
        ("MOST_ENTRIES", 10, "more than 10 entries"),
        ("MOST_CONTAINERS", 10, "more entries than a checkpoint has"),
        ("MOST_STEPS", 10, "more entries than a checkpoint has"),
        ("DEEPEST", 0, "more than 0 containers inside each other"),
        ("LONGEST_TEXT", 10, "a text of more than 10 characters"),
        ("LARGEST_NUMBER", 2, "a whole number"),
        ("MOST_DIMENSIONS", 1, "a tensor of an unknown form"),
        ("MOST_SHARING", 0, "its tensors claim more"),
    ],
)
def test_each_bound_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: str, most: int, message: str) -> None:
    path = tmp_path / "model.ckpt"
    checkpoint.save(CONTENT, path)
    checkpoint.load(path)
    monkeypatch.setattr(archive, bound, most)
    assert message in refused(path)


def test_a_large_vocabulary_is_read(tmp_path: Path) -> None:
    words = ["<pad>", "<unk>", *(f"{number:x}" for number in range(100_000))]
    checkpoint.save(CONTENT | {"vocabulary": words}, tmp_path / "model.ckpt")
    assert checkpoint.load(tmp_path / "model.ckpt")["vocabulary"] == words


def test_a_file_that_memory_does_not_suffice_for_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint.save(CONTENT, tmp_path / "model.ckpt")

    def fail(*sizes: Any, **options: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(archive.torch, "empty", fail)
    assert "not enough memory" in refused(tmp_path / "model.ckpt")
