"""The weights of a model as NumPy arrays, for what computes without torch: names, shapes and types."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import numpy as np
import numpy.typing as npt

from unroll.config import ClassificationConfig, EncoderConfig, LanguageModelingConfig

if TYPE_CHECKING:
    from torch import nn

    Module = TypeVar("Module", bound=nn.Module)
else:
    Module = TypeVar("Module")

Array = npt.NDArray[Any]
Arrays = Mapping[str, Array]  # by the names of the module's state dict
Shapes = dict[str, tuple[int, ...]]

GATES = {"rnn_tanh": 1, "rnn_relu": 1, "gru": 3, "lstm": 4}  # blocks of a weight, for the cells with torch's names
NUMBERS = (np.dtype(np.float32), np.dtype(np.float16))  # that an exported weight may have


class Weights(Generic[Module]):
    """The weights of one model, as `arrays` and as a torch `module`. Each is made from the other when it is first used:
    who needs only arrays does not import torch."""

    def __init__(
        self,
        module: Module | None = None,
        arrays: Arrays | None = None,
        make: Callable[[], Any] | None = None,
    ) -> None:
        """Hold a module, or arrays together with a function that makes an untrained module for them.

        Raises:
            ValueError: neither is given.
        """
        if module is None and (arrays is None or make is None):
            raise ValueError("give a module, or arrays and a function that makes a module")
        self._module, self._arrays, self._make = module, arrays, make

    @classmethod
    def of(cls, model: Module | Weights[Module]) -> Weights[Module]:
        """Return the weights of a model, or themselves."""
        return model if isinstance(model, Weights) else cls(model)

    @property
    def come_as_arrays(self) -> bool:
        """Whether they do, and the module is still to be made."""
        return self._module is None

    @cached_property
    def module(self) -> Module:
        if self._module is not None:
            return self._module
        from unroll.inference.weights import with_weights

        assert self._make is not None
        return cast(Module, with_weights(self._make, dict(self.arrays)))

    @cached_property
    def arrays(self) -> Arrays:
        if self._arrays is not None:
            return self._arrays
        weights = self.module.state_dict()
        return {name: weight.detach().cpu().numpy() for name, weight in weights.items()}

    @property
    def parameters(self) -> int:
        """How many numbers are learnt."""
        if self._module is None:
            return sum(array.size for array in self.arrays.values())
        return sum(parameter.numel() for parameter in self._module.parameters())


def checked(arrays: Arrays, shapes: Shapes) -> Arrays:
    """Return weights in float32 that have these names and shapes.

    Raises:
        ValueError: a weight is missing, not expected, of another shape or type, or not finite.
    """
    for name in sorted(arrays.keys() ^ shapes.keys()):
        raise ValueError(f"the weight {name[:80]} is {'not expected' if name in arrays else 'missing'}")
    for name, array in arrays.items():
        if array.shape != shapes[name]:
            raise ValueError(f"the weight {name} is {array.shape}, not {shapes[name]}")
        if array.dtype not in NUMBERS:
            raise ValueError(f"the weight {name} is not an array of floating-point numbers")
        if not np.isfinite(array).all():
            raise ValueError(f"the weight {name} is not finite: the training diverged; use another checkpoint")
    return {name: array.astype(np.float32, copy=False) for name, array in arrays.items()}


def classifier_shapes(config: ClassificationConfig, vocabulary: int, classes: int) -> Shapes | None:
    """Return the shapes of a `TextClassifier`'s weights; None if its encoder is none of unroll's own."""
    encoder, size, model = config.encoder, config.model.embedding_size, config.model
    if not is_own(encoder):
        return None
    features = len(model.pooling) * (1 + encoder.bidirectional) * encoder.hidden_size
    shapes = {"embedding.weight": (vocabulary, size), **_encoder_shapes(encoder, size)}
    if model.head_size:
        shapes |= {"head.0.weight": (model.head_size, features), "head.0.bias": (model.head_size,)}
    last = f"head.{2 if model.head_size else 0}"
    return shapes | {f"{last}.weight": (classes, model.head_size or features), f"{last}.bias": (classes,)}


def language_model_shapes(config: LanguageModelingConfig, vocabulary: int) -> Shapes | None:
    """Return the shapes of a `LanguageModel`'s weights; None if its encoder is none of unroll's own."""
    encoder, size, cutoffs = config.encoder, config.model.embedding_size, config.model.cutoffs
    if not is_own(encoder):
        return None
    shapes: Shapes = {} if size is None else {"embedding.weight": (vocabulary, size)}
    shapes |= _encoder_shapes(encoder, size or vocabulary)
    hidden = encoder.hidden_size
    if not cutoffs:
        own = {} if config.model.tie_weights else {"weight": (vocabulary, hidden)}
        return shapes | own | {"bias": (vocabulary,)}
    head = cutoffs[0] + len(cutoffs)
    shapes |= {"adaptive.head.weight": (head, hidden), "adaptive.head.bias": (head,)}
    for number, (begin, end) in enumerate(zip(cutoffs, [*cutoffs[1:], vocabulary], strict=True)):
        narrow = hidden // 4 ** (number + 1)
        shapes[f"adaptive.tail.{number}.0.weight"] = (narrow, hidden)
        shapes[f"adaptive.tail.{number}.1.weight"] = (end - begin, narrow)
    return shapes


def suffixes(bidirectional: bool) -> tuple[str, ...]:
    """Return how the names of each direction's weights end."""
    return ("", "_reverse") if bidirectional else ("",)


def is_own(encoder: EncoderConfig) -> bool:
    """Return whether an encoder is one of unroll's own, whose weights are known by name."""
    return encoder.cell in GATES or encoder.cell == "min_gru"


def _encoder_shapes(encoder: EncoderConfig, input_size: int) -> Shapes:
    return dict(_each_shape(encoder, input_size))


def _each_shape(encoder: EncoderConfig, input_size: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    hidden, directions = encoder.hidden_size, 1 + encoder.bidirectional
    for layer in range(encoder.num_layers):
        size = directions * hidden if layer else input_size
        if encoder.cell == "min_gru":
            rows = 2 * directions * hidden
            yield f"encoder.projections.{layer}.weight", (rows, size)
            yield f"encoder.projections.{layer}.bias", (rows,)
            continue
        rows = GATES[encoder.cell] * hidden
        for end in suffixes(encoder.bidirectional):
            yield f"encoder.weight_ih_l{layer}{end}", (rows, size)
            yield f"encoder.weight_hh_l{layer}{end}", (rows, hidden)
            yield f"encoder.bias_ih_l{layer}{end}", (rows,)
            yield f"encoder.bias_hh_l{layer}{end}", (rows,)
