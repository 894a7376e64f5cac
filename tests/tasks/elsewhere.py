"""A stand-in for an accelerator: tensors that are on another device, as far as torch and the code can tell.

What is there is of the class `There`, and its device is "meta"; the CPU computes it, in the tensor that it holds. As on
CUDA, an operation on tensors of both devices is refused, but for copies and for single numbers of the CPU.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch
from lightning.pytorch.accelerators import Accelerator
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch import Tensor
from torch.optim import optimizer
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

from unroll import checkpoint
from unroll.training import run as runs
from unroll.training import trainer as trainers

DEVICE = torch.device("meta")
aten = torch.ops.aten
_COPIES = (aten.copy_.default, aten._to_copy.default)
# Lengths of packed sequences are on the CPU, on CUDA too.
_PACK = aten._pack_padded_sequence.default
_MIXED = (*_COPIES, _PACK, aten._pack_padded_sequence_backward.default)


class There(Tensor):
    """A tensor on the other device."""

    @staticmethod
    def __new__(cls, here: Tensor) -> There:
        return torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined, no-any-return]
            cls,
            here.shape,
            strides=here.stride(),
            storage_offset=here.storage_offset(),
            dtype=here.dtype,
            device=DEVICE,
            requires_grad=False,
        )

    def __init__(self, here: Tensor) -> None:
        self.here = here

    def __repr__(self) -> str:  # type: ignore[override]
        return f"There({self.here!r})"

    # Torch does these two by means of its own.

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def new_tensor(self, data: Any) -> Tensor:  # type: ignore[override]
        return torch.tensor(data, dtype=self.dtype).to(DEVICE)

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _compute(func, args, kwargs or {})


class _Factories(TorchDispatchMode):
    """Makes what is asked for there, there."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _compute(func, args, kwargs or {})


def _compute(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    is_there = any(isinstance(tensor, There) for tensor in tensors)
    if is_there and func not in _MIXED:
        for tensor in tensors:
            if not isinstance(tensor, There) and tensor.dim() > 0:
                raise RuntimeError(f"{func}: a tensor {tuple(tensor.shape)} of the CPU among tensors of another device")
    devices = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.device)]
    is_there = DEVICE in devices if devices else is_there
    found = func(*tree_map(_inside, args), **tree_map(_inside, kwargs))
    if func is aten.copy_.default:
        return args[0]
    if not is_there:
        return found
    if func is _PACK:
        return There(found[0]), found[1]
    if func.overloadpacket is aten.to:  # which inference mode does not take apart
        (value,) = args[:1]
        return value if isinstance(value, There) and found is value.here else There(found)
    found = tree_map(lambda leaf: There(leaf) if isinstance(leaf, Tensor) else leaf, found)
    return return_and_correct_aliasing(func, args, kwargs, found)


def _inside(leaf: Any) -> Any:
    """Return what an operation gets in place of an argument."""
    if isinstance(leaf, torch.device):
        return torch.device("cpu")
    return leaf.here if isinstance(leaf, There) else leaf


def here(value: Any) -> Any:
    """Return a structure with its tensors on the CPU."""
    return tree_map(lambda leaf: leaf.detach().here if isinstance(leaf, There) else leaf, value)


class _ThereAccelerator(Accelerator):
    """What Lightning wants to know of the other device."""

    def setup_device(self, device: torch.device) -> None: ...

    def teardown(self) -> None: ...

    @staticmethod
    def parse_devices(devices: Any) -> Any:
        return devices

    @staticmethod
    def get_parallel_devices(devices: Any) -> list[torch.device]:
        return [DEVICE]

    @staticmethod
    def auto_device_count() -> int:
        return 1

    @staticmethod
    def is_available() -> bool:
        return True

    @staticmethod
    def name() -> str:
        return "there"


@contextmanager
def elsewhere(patch: pytest.MonkeyPatch) -> Iterator[None]:
    """In this block runs train on the other device."""
    enabled = torch.is_autocast_enabled
    arguments, autocast, tensor, save = trainers.trainer_arguments, torch.autocast, torch.tensor, checkpoint.save

    def with_place(config: Any) -> dict[str, Any]:
        strategy = SingleDeviceStrategy(device=DEVICE, accelerator=_ThereAccelerator())
        return arguments(config) | {"accelerator": "auto", "strategy": strategy, "inference_mode": False}

    with patch.context() as inner, _Factories():
        for module in (trainers, runs):
            inner.setattr(module, "trainer_arguments", with_place)
        # What torch knows of CUDA, and not of "meta".
        inner.setattr(
            torch, "autocast", lambda device, **kw: nullcontext() if device == "meta" else autocast(device, **kw)
        )
        inner.setattr(torch, "is_autocast_enabled", lambda device=None: device != "meta" and enabled(device))
        for name in ("tensor", "as_tensor"):  # torch makes these without asking the mode
            inner.setattr(torch, name, lambda data, device=None, **kw: tensor(data, **kw).to(device or "cpu"))
        fused = optimizer._get_fused_kernels_supported_devices
        inner.setattr(optimizer, "_get_fused_kernels_supported_devices", lambda: [*fused(), "meta"])
        inner.setattr(checkpoint, "save", lambda content, path: save(here(content), path))
        yield
