"""Where a number that is not finite began: which module's output, or whose gradient."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn


class Outputs:
    """What the modules of a model returned in training, in the order in which they did, until it is forgotten.

    Nothing is computed of it unless `first_not_finite` is asked, so that watching costs nothing.
    """

    def __init__(self, model: nn.Module) -> None:
        self._noted: list[tuple[str, Any]] = []
        for name, module in model.named_modules():
            module.register_forward_hook(partial(self._note, name or "the output layer"))

    def _note(self, name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        if module.training:
            self._noted.append((name, output))

    def forget(self) -> None:
        self._noted.clear()

    def first_not_finite(self) -> str | None:
        """Return the name of the module whose output was the first to hold NaN or infinity."""
        return next(
            (name for name, output in self._noted if not all(bool(t.isfinite().all()) for t in _tensors(output))), None
        )


def _tensors(output: Any) -> Iterator[Tensor]:
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, tuple):
        for part in output:
            yield from _tensors(part)


def not_finite_gradients(named_parameters: Iterable[tuple[str, nn.Parameter]]) -> str:
    """Return the names of the parameters whose gradients hold NaN or infinity, or, where only the norm of them all is
    beyond float32, of the one with the largest."""
    gradients = {name: parameter.grad for name, parameter in named_parameters if parameter.grad is not None}
    broken = [name for name, gradient in gradients.items() if not gradient.isfinite().all()]
    return ", ".join(broken or [max(gradients, key=lambda name: float(gradients[name].abs().max()))])


def all_finite(parameters: Iterable[nn.Parameter]) -> bool:
    """Return whether no weight is NaN or infinite."""
    return all(bool(torch.isfinite(parameter).all()) for parameter in parameters)
