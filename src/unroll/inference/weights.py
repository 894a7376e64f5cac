"""The weights of a checkpoint in a model. Names, shapes and types are compared before any memory is taken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from unroll.inference.forks import compute_alone_after_fork

Model = TypeVar("Model", bound=nn.Module)


def with_weights(make: Callable[[], Model], state_dict: dict[str, Any]) -> Model:
    """Return the model that `make` builds, with the weights of a checkpoint or an exported folder, for evaluation.

    Floating-point weights become float32, or float64 where one of them is that.

    Raises:
        ValueError: a weight is missing, not expected, of another shape or type, or not finite.
    """
    compute_alone_after_fork()
    # No memory is taken for the sizes that a file claims until its weights have them.
    with torch.device("meta"), _WithoutValues():
        model = make()
    weights = {str(name).removeprefix("model."): _tensor(value) for name, value in state_dict.items()}
    expected = model.state_dict()
    for name in sorted(weights.keys() ^ expected.keys()):
        raise ValueError(f"the weight {name[:80]} is {'not expected' if name in weights else 'missing'}")
    for name, weight in weights.items():
        if fault := _fault(weight, expected[name]):
            raise ValueError(f"the weight {name} {fault}")
    wide = any(weight.dtype == torch.float64 for weight in weights.values())
    precision = torch.float64 if wide else torch.float32
    weights = {name: w.to(precision) if w.is_floating_point() else w for name, w in weights.items()}
    if any(name not in expected for name, _ in model.named_buffers()):
        model = make()  # what no checkpoint holds is computed anew
    model.load_state_dict(weights, assign=True)
    return model.eval()


class _WithoutValues(TorchFunctionMode):
    """Leaves out the functions of `torch.nn.init`. On the meta device, `normal_` imports torch's compiler for 1.3 s."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__module__", None) == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))


def _tensor(value: Any) -> Any:
    """Return an array of an exported folder as a tensor, and all else as it is."""
    return torch.from_numpy(value) if isinstance(value, np.ndarray) else value


def _fault(weight: Any, expected: Tensor) -> str:
    """Return what is wrong with a weight, or nothing."""
    if not isinstance(weight, Tensor):
        return f"is a {type(weight).__name__}, not a tensor"
    if weight.shape != expected.shape:
        return f"is {tuple(weight.shape)}, not {tuple(expected.shape)}"
    if weight.layout != torch.strided or weight.device.type != "cpu" or not weight.is_contiguous():
        return "is not an array of numbers that follow each other"
    if not weight.is_floating_point() if expected.is_floating_point() else weight.dtype != expected.dtype:
        kind = "floating-point numbers" if expected.is_floating_point() else expected.dtype
        return f"is not an array of {kind}"
    if not bool(weight.isfinite().all()):
        return "is not finite: the training diverged; use another checkpoint"
    return ""
