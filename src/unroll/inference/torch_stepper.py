"""The steps of any language model, by torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unroll.encoders import RecurrentEncoder
from unroll.inference.arrays import Weights
from unroll.inference.stepper import CELLS, Array, NumpyStepper, Stepper
from unroll.models.language_model import LanguageModel


def make_stepper(model: LanguageModel) -> Stepper:
    """Return the fastest stepper of a model. Do not change the model's weights while it is in use."""
    encoder = model.encoder
    # The exact type: a subclass may compute something else.
    if type(encoder) is RecurrentEncoder and encoder.cell in CELLS and model.adaptive is None:
        return NumpyStepper(encoder.cell, Weights(model).arrays)
    return TorchStepper(model)


class TorchStepper:
    """Steps of any model, by the `forward` of the model itself. A copy would fail where hooks can't be copied."""

    def __init__(self, model: LanguageModel) -> None:
        self._model, self._device = model, next(model.parameters()).device

    def read(self, prompts: Sequence[Sequence[int]]) -> tuple[Any, Array]:
        # With `carry=0`, for an empty prompt, the state is the one before any symbol.
        after = {p: self._forward([p or (0,)], carry=len(p), last=1) for p in set(map(tuple, prompts))}
        states, logits = zip(*(after[tuple(prompt)] for prompt in prompts), strict=True)
        return _join(states), np.concatenate(logits)

    def step(self, symbols: NDArray[np.intp], state: Any) -> tuple[Any, Array]:
        return self._forward(symbols[:, None], state)

    @torch.inference_mode()
    def _forward(self, ids: Any, *args: Any, **kwargs: int) -> tuple[Any, Array]:
        in_training = [module for module in self._model.modules() if module.training]
        self._model.eval()
        try:
            logits, state = self._model(torch.as_tensor(ids, device=self._device), *args, **kwargs)
        finally:
            for module in in_training:
                module.training = True
        return state, logits[:, -1].float().cpu().numpy()


def _join(states: Sequence[Any]) -> Any:
    """Join the rows of states, each a tensor (layers, batch, features) or a tuple of such tensors."""
    if isinstance(states[0], Tensor):
        return torch.cat(list(states), dim=1)
    return tuple(map(_join, zip(*states, strict=True)))
