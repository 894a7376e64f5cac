"""Stretches of a text, and the loss at their ends: what `gradient_flow` needs to look back from the last step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from unroll.batching.streams import stretches
from unroll.errors import DataError
from unroll.tasks.data import STRETCHES


def probe(model: Any, text: str, lags: int) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Cut a text into stretches of `lags` steps, for a loaded model that reads texts.

    Returns:
        What the model's `look_back` returns: the encoder's input (stretches, lags, features), and the loss as a
        function of the encoder's output at the last step.

    Raises:
        DataError: the text is shorter than one stretch.
    """
    ids, steps = model.encode(text), lags + model.look_ahead
    if len(ids) < steps:
        raise DataError(
            f"the text has {len(ids)} {model.unit}, and {steps} are needed; give a longer text, or fewer --lags"
        )
    found: tuple[Tensor, Callable[[Tensor], Tensor]] = model.model.look_back(stretches(ids, steps, STRETCHES))
    return found
