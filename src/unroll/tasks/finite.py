"""Where NaN or infinity first appeared: in which module's output, or in which weight's gradient."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from unroll.tasks.row_adam import entries


class Outputs:
    """The outputs of a model's modules in training, in order, until `forget`.

    Nothing is computed from them before `first_not_finite` is called, so keeping them costs nothing.
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
        """Return the name of the first module with NaN or infinity in its output."""
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
    """Return the names of the parameters with NaN or infinity in their gradients. If there is none, because only the
    norm of all gradients overflows, return the parameter with the largest gradient."""
    gradients = {name: entries(parameter.grad) for name, parameter in named_parameters if parameter.grad is not None}
    broken = [name for name, gradient in gradients.items() if not gradient.isfinite().all()]
    return ", ".join(broken or [max(gradients, key=lambda name: float(gradients[name].abs().max()))])


def all_finite(parameters: Iterable[nn.Parameter]) -> bool:
    """Return whether no weight is NaN or infinite."""
    return all(bool(torch.isfinite(parameter).all()) for parameter in parameters)
