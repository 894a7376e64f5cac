"""A check of files that `torch.save` wrote, before torch reads them.

`torch.load(weights_only=True)` runs no program, but it bounds nothing: 500 bytes can make it take 8 GiB, and 600 bytes
can keep it busy for hours. So this module first follows the pickle's instructions itself. It knows those that a
checkpoint needs, calls nothing that the file names, makes no tensor, and stops where a bound is passed.
"""

from __future__ import annotations

import math
import pickletools
import sys
import zipfile
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, BinaryIO

import torch

LARGEST_PICKLE = 2**27  # bytes of all that is not in a tensor
MOST_ENTRIES = 2**22  # of all containers; what is shared counts at each place where it stands
MOST_CONTAINERS = 2**17  # tensors among them
MOST_STEPS, BYTES_A_STEP = 2**18, 6  # of the pickle, and one more for so many bytes: words have several letters
DEEPEST = 32  # containers inside each other
LONGEST_TEXT = 2**20  # characters
LARGEST_NUMBER = 2**63
MOST_DIMENSIONS = 8  # of a tensor
MOST_SHARING = 4  # times the file's size that tensors may have together: tied weights share their numbers

_DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_MAKE_CONTAINERS = {"EMPTY_DICT", "EMPTY_LIST", "MARK", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "REDUCE"}
_SCALARS = (str, int, float, bool, type(None))


class Refused(ValueError):
    """The file holds something that no checkpoint of this package holds. The message says what."""


@dataclass(frozen=True)
class _Global:
    """A name that the pickle refers to. It is never imported."""

    name: str


@dataclass(frozen=True)
class _Storage:
    """The numbers of one or more tensors, one after the other, in the file."""

    kind: _Global
    count: int

    @property
    def item_size(self) -> int:
        return _DTYPES[self.kind.name].itemsize


class _Tensor:
    """Stands where the file has a tensor."""


_ORDERED_DICT, _TENSOR = _Global("collections OrderedDict"), _Global("torch._utils _rebuild_tensor_v2")
_GLOBALS = {each.name: each for each in (_ORDERED_DICT, _TENSOR)}
_GLOBALS |= {f"torch {name}": _Global(name) for name in _DTYPES}


def check(file: BinaryIO) -> None:
    """Check that what `torch.save` wrote into a file is tensors and plain data within the bounds above.

    Raises:
        Refused: the file holds anything but tensors and plain data, or passes a bound.
        Exception: the file is damaged. Of what kind it is depends on the damage.
    """
    file.seek(0)
    if file.read(4) != b"PK\x03\x04":
        raise Refused("it does not begin as a checkpoint does")  # torch would take it for another kind of file
    with zipfile.ZipFile(file) as archive:
        entries, size = archive.infolist(), file.seek(0, 2)
        if any(entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1 for entry in entries):
            raise Refused("it is compressed or encrypted")
        if sum(entry.file_size for entry in entries) > size:
            raise Refused("its parts claim to be larger than the file")
        (program,) = (entry for entry in entries if entry.filename.endswith("/data.pkl"))
        if program.file_size > LARGEST_PICKLE:
            raise Refused(f"it holds more than {LARGEST_PICKLE >> 20} MiB besides its tensors")
        folder = program.filename.removesuffix("data.pkl")
        # What is checked must be what torch reads. Its own reader finds parts by names without regard to case, and by
        # places that `zipfile` may understand otherwise.
        file.seek(0)
        reader = torch._C.PyTorchFileReader(file)
        names = {name.casefold(): name for name in reader.get_all_records()}
        sizes = {name: reader.get_record_size(name) for name in names.values()}
        if sizes != {entry.filename.removeprefix(folder): entry.file_size for entry in entries}:
            raise Refused("it has parts of one name, or two lists of its parts")
        if archive.read(f"{folder}byteorder") != sys.byteorder.encode():
            raise Refused(f"its numbers are not {sys.byteorder}-endian, as this machine's are")
        pickle = archive.read(program)
        if reader.get_record("data.pkl") != pickle:
            raise Refused("it has two lists of its parts")
        _measure(_Machine(archive, folder, MOST_SHARING * size).run(pickle), 0, {})


class _Machine:
    """Follows the instructions of a pickle (https://docs.python.org/3/library/pickletools.html)."""

    def __init__(self, archive: zipfile.ZipFile, folder: str, most_bytes: int) -> None:
        self.archive, self.folder = archive, folder
        self.bytes_left = most_bytes  # that tensors may still have
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []  # the stacks under each mark
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, _Storage] = {}

    def run(self, pickle: bytes) -> Any:
        most_steps, containers = MOST_STEPS + len(pickle) // BYTES_A_STEP, 0
        for number, (opcode, argument, _) in enumerate(pickletools.genops(pickle)):
            containers += opcode.name in _MAKE_CONTAINERS
            if number > most_steps or containers > MOST_CONTAINERS:
                raise Refused("it holds more entries than a checkpoint has")
            if opcode.name == "STOP":
                break
            self._step(opcode.name, argument)
        (content,) = self.stack
        return content

    def _step(self, name: str, argument: Any) -> None:
        """Follow one instruction; the most frequent come first."""
        stack = self.stack
        match name:
            case "BINUNICODE":
                if len(argument) > LONGEST_TEXT:
                    raise Refused(f"it holds a text of more than {LONGEST_TEXT:,} characters")
                stack.append(argument)
            case "BINPUT" | "LONG_BINPUT":
                self.memo[argument] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(self.memo[argument])
            case "BININT" | "BININT1" | "BININT2" | "LONG1":
                if not -LARGEST_NUMBER <= argument < LARGEST_NUMBER:
                    raise Refused("it holds a whole number of more than 64 bits")
                stack.append(argument)
            case "BINFLOAT":
                stack.append(argument)
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[name])
            case "EMPTY_DICT" | "EMPTY_LIST" | "EMPTY_TUPLE":
                stack.append({} if name == "EMPTY_DICT" else [] if name == "EMPTY_LIST" else ())
            case "MARK":
                self.below.append(stack)
                self.stack = []
            case "TUPLE":
                values = self._since_mark()
                self.stack.append(tuple(values))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                count = int(name[-1])
                stack[-count:] = [tuple(stack[-count:])]
            case "APPEND" | "APPENDS":
                values = self._since_mark() if name == "APPENDS" else [stack.pop()]
                self._top(list).extend(values)
            case "SETITEM" | "SETITEMS":
                pairs = self._since_mark() if name == "SETITEMS" else [stack.pop(-2), stack.pop()]
                self._set(pairs)
            case "GLOBAL":
                if argument not in _GLOBALS:
                    raise Refused(f"it asks for {argument[:80]!r}")
                stack.append(_GLOBALS[argument])
            case "BINPERSID":
                stack.append(self._storage(stack.pop()))
            case "REDUCE":
                arguments, function = stack.pop(), stack.pop()
                stack.append(self._made(function, arguments))
            case "BUILD":  # of a state dict alone: the versions of its modules
                state, target = stack.pop(), self._top(OrderedDict)
                if type(state) is not dict or [*state] != ["_metadata"] or type(state["_metadata"]) is not OrderedDict:
                    raise Refused("it sets attributes of a dictionary")
                vars(target).update(state)
            case "PROTO" if argument == 2:
                pass
            case _:
                raise Refused(f"it uses the pickle instruction {name}")

    def _since_mark(self) -> list[Any]:
        values, self.stack = self.stack, self.below.pop()
        return values

    def _top(self, kind: type) -> Any:
        top = self.stack[-1]
        if not isinstance(top, kind):
            raise Refused(f"it uses a {type(top).__name__} as {kind.__name__}")
        return top

    def _set(self, pairs: list[Any]) -> None:
        target, keys = self._top(dict), pairs[::2]
        # Not tuples: the hash of one that holds itself forty times takes hours.
        if not all(type(key) in (str, int) for key in keys):
            raise Refused("it holds a key that is no text or whole number")
        target.update(zip(keys, pairs[1::2], strict=True))

    def _made(self, function: Any, arguments: Any) -> Any:
        """Return what the pickle calls for: a dictionary, or what stands for a tensor."""
        if type(arguments) is tuple and function is _ORDERED_DICT and not arguments:
            return OrderedDict()
        if type(arguments) is tuple and function is _TENSOR and 6 <= len(arguments) <= 7:
            storage, offset, shape, strides, _, _, *metadata = arguments
            if any(metadata):
                raise Refused("it holds a tensor of an unknown form")
            self._check_tensor(storage, offset, shape, strides)
            return _Tensor()
        raise Refused("it calls what makes neither a tensor nor a dictionary")

    def _storage(self, place: Any) -> _Storage:
        """Find the numbers that `place` names: ("storage", kind, key, device, count)."""
        if type(place) is not tuple or [type(part) for part in place] != [str, _Global, str, str, int]:
            raise Refused("it names a tensor's numbers in an unknown way")
        _, kind, key, _, count = place
        storage = self.storages.setdefault(key, _Storage(kind, count))
        if storage != _Storage(kind, count):
            raise Refused("it takes the same numbers for two types")
        if self.archive.getinfo(f"{self.folder}data/{key}").file_size != count * storage.item_size:
            raise Refused("a tensor claims more numbers than the file holds")
        return storage

    def _check_tensor(self, storage: Any, offset: Any, shape: Any, strides: Any) -> None:
        sizes = [offset, *shape, *strides]
        if type(storage) is not _Storage or any(type(each) is not int or each < 0 for each in sizes):
            raise Refused("it holds a tensor of an unknown form")
        if len(shape) != len(strides) or len(shape) > MOST_DIMENSIONS:
            raise Refused("it holds a tensor of an unknown form")
        reach = 1  # numbers from the first to the last, by the dimensions so far
        for stride, count in sorted(zip(strides, shape, strict=True)):
            if count > 1 and stride < reach:
                raise Refused("it holds a tensor that repeats its numbers")
            reach += (count - 1) * stride if count > 1 else 0
        self.bytes_left -= math.prod(shape) * storage.item_size
        if self.bytes_left < 0 or (math.prod(shape) and offset + reach > storage.count):
            raise Refused("its tensors claim more numbers than the file holds")


def _measure(value: Any, depth: int, known: dict[int, tuple[int, int] | None]) -> tuple[int, int]:
    """Return how many entries a value has in all, and how deep it is. Each container is looked at once.

    Raises:
        Refused: the value passes a bound, stands inside of itself, or is not plain.
    """
    if type(value) in _SCALARS or type(value) is _Tensor:
        return 1, 0
    if type(value) not in (dict, OrderedDict, list, tuple):
        raise Refused("it holds something that is no plain data")
    if depth > DEEPEST:
        raise Refused(f"it holds more than {DEEPEST} containers inside each other")
    if id(value) not in known:
        known[id(value)] = None  # until all inside is known
        parts = [_measure(part, depth + 1, known) for part in (value.values() if isinstance(value, dict) else value)]
        known[id(value)] = 1 + sum(size for size, _ in parts), 1 + max((height for _, height in parts), default=0)
    found = known[id(value)]
    if found is None:
        raise Refused("it holds a container that stands inside of itself")
    if found[0] > MOST_ENTRIES:
        raise Refused(f"it holds more than {MOST_ENTRIES:,} entries")
    if depth + found[1] > DEEPEST:
        raise Refused(f"it holds more than {DEEPEST} containers inside each other")
    return found
