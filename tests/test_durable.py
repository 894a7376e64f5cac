"""A file is the old one or the new one, whatever interrupts the write."""

import os
import stat
from pathlib import Path

import pytest

from unroll.durable import clear, keep, new_folder, replacing, write_text


@pytest.mark.parametrize("fault", [ValueError("half-way"), KeyboardInterrupt(), SystemExit(1)])
@pytest.mark.parametrize("old", [None, b"old"])
def test_a_block_that_raises_leaves_things_as_they_were(
    tmp_path: Path, old: bytes | None, fault: BaseException
) -> None:
    path = tmp_path / "file"
    if old is not None:
        path.write_bytes(old)

    def interrupted() -> None:
        with replacing(path) as file:
            file.write(b"new" * 100_000)
            raise fault

    with pytest.raises(type(fault)):
        interrupted()
    assert [entry.name for entry in tmp_path.iterdir()] == ([] if old is None else ["file"])
    assert old is None or path.read_bytes() == old


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_disk_that_fails_at_the_end_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "file"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match="No space left"), replacing(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_the_new_content_appears_at_the_end_and_not_before(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old and longer")
    with replacing(path) as file:
        file.write(b"new\x00")
        file.flush()
        assert path.read_bytes() == b"old and longer"
        assert {entry.parent for entry in tmp_path.rglob("*")} == {tmp_path}, "on the same file system"
    assert path.read_bytes() == b"new\x00"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_the_bytes_are_on_the_disk_before_the_name_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    fsync, replace = os.fsync, os.replace

    def synced(descriptor: int) -> None:
        calls.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else str(os.fstat(descriptor).st_size))
        fsync(descriptor)

    def renamed(source: Path, target: Path) -> None:
        calls.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", renamed)
    with replacing(tmp_path / "file") as file:
        file.write(b"12345")
    assert calls == ["5", "rename", "folder"]


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664), (0, 0o666)])
def test_the_mode_follows_the_umask(tmp_path: Path, mask: int, mode: int) -> None:
    path = tmp_path / "file"
    before = os.umask(mask)
    try:
        with replacing(path) as file:
            file.write(b"x")
        assert os.umask(mask) == mask, "left as it was"
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_missing_folders_are_made(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file.txt"
    write_text(path, "é😀\r\n")
    assert path.read_bytes() == "é😀\r\n".encode()


def test_a_folder_that_is_a_file_is_an_os_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match="file"), replacing(tmp_path / "file" / "below"):
        pass


@pytest.mark.parametrize("links", [True, False])
def test_a_file_outlives_its_replacement_under_its_second_name(
    tmp_path: Path, links: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    if not links:
        monkeypatch.setattr(os, "link", refuse)
    last, previous = tmp_path / "last", tmp_path / "previous"
    keep(last, previous)
    assert not previous.exists()
    for content in ("first", "second", "third"):
        keep(last, previous)
        write_text(last, content)
    assert (last.read_text(), previous.read_text()) == ("third", "second")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last", "previous"]


def test_what_killed_processes_left_is_cleared_and_nothing_else(tmp_path: Path) -> None:
    for name in (".old.ckpt.x.tmp", ".new.ckpt.x.tmp", "kept.tmp", ".kept"):
        (tmp_path / name).write_text("")
    os.utime(tmp_path / ".old.ckpt.x.tmp", (0, 0))
    (tmp_path / ".old.x.tmp" / "inside").mkdir(parents=True)
    os.utime(tmp_path / ".old.x.tmp", (0, 0))
    clear(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".kept", ".new.ckpt.x.tmp", "kept.tmp"]
    clear(tmp_path, seconds=0)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".kept", "kept.tmp"]
    clear(tmp_path / "none")


@pytest.mark.parametrize("there", [False, True])
def test_a_new_folder_is_complete_or_absent(tmp_path: Path, there: bool) -> None:
    path = tmp_path / "in" / "folder"
    if there:
        path.mkdir(parents=True)

    def interrupted() -> None:
        with new_folder(path) as place:
            (place / "file").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [each.name for each in path.parent.iterdir()] == (["folder"] if there else [])
    with new_folder(path) as place:
        (place / "file").write_text("whole")
        assert not path.exists() or not any(path.iterdir())
    assert (path / "file").read_text() == "whole"
    assert stat.S_IMODE(path.stat().st_mode) == 0o777 & ~umask()
    with pytest.raises(OSError, match="not empty"), new_folder(path) as place:
        (place / "other").write_text("")
    assert [each.name for each in path.parent.iterdir()] == ["folder"]
    assert [each.name for each in path.iterdir()] == ["file"]


def umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
