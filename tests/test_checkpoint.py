"""A checkpoint is data: hostile, damaged and foreign files are refused in one line, and nothing in them runs."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from unroll import checkpoint
from unroll.errors import CheckpointError

CONTENT: dict[str, Any] = {
    "format": checkpoint.FORMAT,
    "task": "imdb",
    "config": {"seed": 1},
    "vocabulary": ["<pad>", "<unk>", "ü"],
    "tokenizer": "basic_english",
    "labels": ["a", "b"],
    "data": {"source": "local"},
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
    for content in ({k: v for k, v in CONTENT.items() if k != key}, CONTENT | {key: 1.5}):
        sealed(path, content)
        assert f"'{key}'" in refused(path)


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
