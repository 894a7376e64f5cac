"""A stranger's weights in a model: names, shapes and kinds are compared before any memory is taken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

Model = TypeVar("Model", bound=nn.Module)


def with_weights(make: Callable[[], Model], state_dict: dict[str, Tensor]) -> Model:
    """Return the model that `make` builds, with the weights of a checkpoint, for evaluation.

    Raises:
        ValueError: a weight is missing, not expected, of another shape, or not an array of numbers.
    """
    with torch.device("meta"):  # the sizes that a file claims are not believed until its weights bear them out
        model = make()
    weights = {str(name).removeprefix("model."): value for name, value in state_dict.items()}
    expected = model.state_dict()
    for name in sorted(weights.keys() ^ expected.keys()):
        raise ValueError(f"the weight {name} is {'not expected' if name in weights else 'missing'}")
    for name, weight in weights.items():
        if not isinstance(weight, Tensor) or weight.shape != expected[name].shape:
            shape = tuple(weight.shape) if isinstance(weight, Tensor) else type(weight).__name__
            raise ValueError(f"the weight {name} is {shape}, not {tuple(expected[name].shape)}")
        # A view may claim any size of a few bytes, and a sparse tensor of none.
        if weight.layout != torch.strided or not weight.is_floating_point() or not weight.is_contiguous():
            raise ValueError(f"the weight {name} is not an array of floating-point numbers")
    if any(name not in expected for name, _ in model.named_buffers()):
        model = make()  # what no checkpoint holds is computed anew
    model.load_state_dict(weights, assign=True)
    return model.eval()


def entry(content: dict[str, Any], name: str, kind: type, of: type = object) -> Any:
    """Return an entry of a checkpoint.

    Raises:
        ValueError: it is missing or of another type.
    """
    value = content.get(name)
    if not isinstance(value, kind):
        raise ValueError(f"its entry '{name}' is missing or no {kind.__name__}")
    if isinstance(value, list) and not all(isinstance(each, of) for each in value):
        raise ValueError(f"its entry '{name}' holds something that is no {'string' if of is str else of.__name__}")
    return value
