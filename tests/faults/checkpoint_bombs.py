"""Checkpoints that would take memory, time or the wrong path: small files with a right checksum and hostile content."""

from __future__ import annotations

import io
import struct
import warnings
import zipfile
from collections.abc import Iterator
from typing import Any

import torch

Content = dict[str, Any]


def saved(content: Any, zipped: bool = True) -> bytes:
    """What `torch.save` writes."""
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=zipped)
    return buffer.getvalue()


def archive(pickle: bytes, numbers: bytes = bytes(64), **changes: Any) -> bytes:
    """A zip file in torch's form around a pickle, with the numbers of one tensor."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", changes.get("compression", zipfile.ZIP_STORED)) as file:
        file.writestr("archive/data.pkl", b"\x80\x02" + pickle)
        file.writestr("archive/version", "3\n")
        file.writestr("archive/byteorder", changes.get("byteorder", "little"))
        file.writestr("archive/data/0", numbers)
        for number in range(changes.get("more", 0)):
            file.writestr(f"archive/data/more{number}", b"")
        for number in range(changes.get("again", 0)):  # more names for the same bytes
            entry = zipfile.ZipInfo(f"archive/data/again{number}")
            first = file.getinfo("archive/data/0")
            entry.header_offset, entry.CRC = first.header_offset, first.CRC
            entry.file_size = entry.compress_size = first.file_size
            file.filelist.append(entry)
    return buffer.getvalue()


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value: int) -> bytes:
    digits = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(digits)]) + digits


def tensor(count: int, shape: int, stride: int, storage: str = "FloatStorage") -> bytes:
    place = b"(" + text("storage") + f"ctorch\n{storage}\n".encode() + text("0") + text("cpu") + number(count) + b"tQ"
    sizes = b"K\x00" + number(shape) + b"\x85" + number(stride) + b"\x85"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + place + sizes + b"\x89ccollections\nOrderedDict\n)RtR"


def shared(empty: bytes, add: bytes, times: int = 40) -> bytes:
    """A container that holds the one before twice, so many times."""
    first = empty + b"q\x00"
    twice = (b"h%c" % i + add.replace(b"_", b"h%c" % i) + b"q%c" % (i + 1) for i in range(times))
    if empty != b")":
        twice = (empty + b"q%c" % (i + 1) + add.replace(b"_", b"h%c" % i) for i in range(times))
    return first + b"".join(twice)


def pickles() -> Iterator[tuple[str, bytes]]:
    """Yield small pickles that grow, or that hold what no checkpoint does."""
    lists, tuples = shared(b"]", b"_a_a"), shared(b")", b"_\x86")
    yield "a list, shared forty times", lists
    yield "a tuple, shared forty times", tuples
    yield "a dictionary, shared forty times", shared(b"}", text("a") + b"_s" + text("b") + b"_s")
    yield "a shared tuple as a key", b"}" + tuples + b"K\x01s"
    yield "a shared tuple as a tensor's name", b"(" + tuples + b"tQ"
    yield "a call of a shared list", lists + b")R"
    yield "a call with a shared list", b"ccollections\nOrderedDict\n" + lists + b"\x85R"
    yield "a build of a shared list", lists + b"}b"
    yield "a hundred thousand lists inside each other", b"]" * 100_000 + b"a" * 99_999
    yield "a hundred thousand tuples inside each other", b")" + b"\x85" * 100_000
    yield "a million lists", b"(" + b"]" * 10**6 + b"t"
    yield "a million nothings", b"(" + b"N" * 10**6 + b"t"
    yield "a million marks", b"(" * 10**6 + b"t"
    yield "a list inside of itself", b"]q\x00h\x00a"
    yield "a dictionary inside of itself", b"}q\x00" + text("a") + b"h\x00s"
    yield "eight gibibytes of zeros", b"cbuiltins\nbytearray\n" + number(2**33) + b"\x85R"
    yield "a tensor without numbers", b"ctorch\nTensor\n" + number(2**40) + b"\x85R"
    yield "a quantised tensor", b"ctorch._utils\n_rebuild_qtensor\n)R"
    yield "a set", b"cbuiltins\nset\n" + lists + b"\x85R"
    yield "a codec", b"c_codecs\nencode\n" + text("a" * 60_000) + text("idna") + b"\x86R"
    yield "a class without its call", b"ccollections\nOrderedDict\n"
    yield "a number of two thousand bits", number(2**2000)
    yield "a number of eight million bits", b"\x8b" + struct.pack("<i", 2**20) + b"\x7f" * 2**20
    yield "a number of a million digits", b"I" + b"9" * 10**6 + b"\n"
    yield "a text of two million characters", text("a" * 2**21)
    yield "a place in the memo far away", b"]r\xff\xff\xff\xff"
    yield "a memo that is not there", b"h\x07"
    yield "an attribute", b"ccollections\nOrderedDict\n)R}" + text("items") + b"K\x01sb"
    yield "more numbers than there are", tensor(10**9, 10**9, 1)
    yield "a view of a terabyte", tensor(16, 2**40, 0)
    yield "a view beyond the end", tensor(16, 17, 1)
    yield "a view of steps beyond the end", tensor(16, 3, 2**40)
    yield "negative sizes", tensor(16, -1, 1)
    yield "a negative stride", tensor(16, 4, -1)
    yield "numbers of two types", b"(" + tensor(16, 4, 1) + tensor(8, 4, 1, "DoubleStorage") + b"t"
    yield "a tensor of an unknown type", tensor(64, 4, 1, "ComplexFloatStorage")


def files(good: Content) -> Iterator[tuple[str, bytes]]:
    """Yield files that the reader must refuse, whatever they hold besides."""
    for name, pickle in pickles():
        yield name, archive(b"](" + text("a") + pickle + b"e.")
    many = b"](" + tensor(25_000, 25_000, 1) * 1000 + b"e."
    yield "a thousand tensors of the same numbers", archive(many, bytes(100_000))
    yield "no end", archive(b"]")
    yield "nothing", archive(b".")
    yield "two contents", archive(b"]].")
    yield "compressed", archive(b"].", bytes(10**8), compression=zipfile.ZIP_DEFLATED)
    yield "parts upon each other", archive(b"].", bytes(10**6), again=1000)
    yield "twenty thousand parts", archive(b"].", more=20_000)
    yield "another byte order", archive(b"].", byteorder="big")
    yield "torch's old format", saved(good, zipped=False)
    with warnings.catch_warnings():  # torch says that sparse tensors are a beta feature
        warnings.simplefilter("ignore")
        strange = _strange_tensors()
    for name, value in strange.items():
        yield f"{name} tensor", saved(good | {"unknown": value})


def _strange_tensors() -> dict[str, Any]:
    return {
        "a sparse": torch.zeros(10, 8).to_sparse(),
        "a compressed sparse": torch.zeros(10, 8).to_sparse_csr(),
        "a complex": torch.zeros(10, 8, dtype=torch.complex64),
        "a conjugate": torch.zeros(10, 8, dtype=torch.complex64).conj(),
        "a negated": torch._neg_view(torch.zeros(10, 8)),
        "an eight-bit": torch.zeros(10, 8, dtype=torch.float8_e4m3fn),
        "a meta": torch.zeros(2**40, device="meta"),
        "an expanded": torch.zeros(1).expand(2**40),
        "an overlapping": torch.zeros(128).as_strided((8, 60), (1, 1)),
        "a parameter instead of a": torch.nn.Parameter(torch.zeros(2)),
    }


def contents(good: Content) -> Iterator[tuple[str, Content]]:
    """Yield contents that can be read, and are no usable model."""
    weights, (name, first) = good["state_dict"], next(iter(good["state_dict"].items()))
    for value in (float("nan"), float("inf"), -float("inf")):
        changed = first.clone()
        changed.view(-1)[-1] = value
        yield f"a weight that is {value}", good | {"state_dict": weights | {name: changed}}
    for what, weight in {
        "of whole numbers": first.long(),
        "of another shape": first[:-1].clone(),
        "with gaps": torch.zeros(*first.shape[:-1], 2 * first.shape[-1])[..., ::2],
        "that is a text": "weights",
        "that is nothing": None,
    }.items():
        yield f"a weight {what}", good | {"state_dict": weights | {name: weight}}
    yield "a weight under a number", good | {"state_dict": weights | {7: first}}
    yield "a weight too many", good | {"state_dict": weights | {"x" * 10**6: first}}
    huge = good["config"]["encoder"] | {"hidden_size": 65536, "num_layers": 64}
    for entry, values in {
        "format": (True, 2**62, "3", None),
        "task": (None, 3),
        "config": (None, [], {"kind": [["x"] * 1000] * 1000}, {"x" * 10**6: 1}, {"encoder": "x" * 10**6}),
        "config ": (good["config"] | {"encoder": huge}, good["config"] | {"seed": [[0] * 1000] * 1000}),
        "data": (None, {}, good["data"] | {"origin": 3}, good["data"] | {"fingerprint": None}),
        "versions": (None, [], {"unroll": 1}),
        "vocabulary": (None, [], {}, ["<pad>", "<unk>", "a", "a"], ["<pad>", "<unk>", 3], ["<pad>", "<unk>", "\ud83d"]),
    }.items():
        for value in values:
            yield f"{entry.strip()}={str(value)[:40]}", good | {entry.strip(): value}
    kind = {"labels": (None, [], ["a"], ["a", "a"], ["a", ""], ["a", 2], ["a", "\ud83d"])}
    if "opening" in good:
        kind = {"opening": (None, "", "ab", 3, "\ud83d")}
    for entry, values in kind.items():
        for value in values:
            yield f"{entry}={value!r}", good | {entry: value}


def bombs(good: Content) -> Iterator[tuple[str, bytes]]:
    """Yield all of them as files without a checksum."""
    yield from files(good)
    for name, content in contents(good):
        yield name, saved(content)
