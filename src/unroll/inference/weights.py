"""The weights of a checkpoint in a model. Names, shapes and types are compared before any memory is taken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from unroll.checkpoint import entry
from unroll.inference.forks import compute_alone_after_fork
from unroll.text import bpe
from unroll.text.codec import Codec
from unroll.text.tokenizers import BYTE_LEVEL
from unroll.text.vocabulary import Vocabulary

Model = TypeVar("Model", bound=nn.Module)


def with_weights(make: Callable[[], Model], state_dict: dict[str, Any]) -> Model:
    """Return the model that `make` builds, with the weights of a checkpoint, for evaluation.

    Floating-point weights become float32, or float64 where one of them is that.

    Raises:
        ValueError: a weight is missing, not expected, of another shape or type, or not finite.
    """
    compute_alone_after_fork()
    with torch.device("meta"):  # no memory is taken for the sizes that a file claims until its weights have them
        model = make()
    weights = {str(name).removeprefix("model."): value for name, value in state_dict.items()}
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


def codec_of(content: dict[str, Any], tokenizer: str) -> Codec:
    """Return the codec that a checkpoint holds. Raises ValueError where its vocabulary or its merges are none, or do
    not fit the tokenizer."""
    vocabulary = Vocabulary(words(content, "vocabulary"))
    merges = tuple(entry(content, "merges", list, of=str)) if tokenizer == "bpe" else ()
    if tokenizer in BYTE_LEVEL and bpe.vocabulary_of(merges) != vocabulary:
        raise ValueError(f"its vocabulary is not that of the tokenizer {tokenizer}")
    return Codec(tokenizer, vocabulary, merges)


def words(content: dict[str, Any], name: str) -> list[str]:
    """Return an entry that is a list of distinct texts, none of them empty. Raises ValueError where it is none."""
    found: list[str] = entry(content, name, list, of=str)
    if "" in found or len(set(found)) != len(found):
        raise ValueError(f"its entry '{name}' holds an empty text, or one twice")
    try:
        "".join(found).encode()
    except UnicodeEncodeError:
        raise ValueError(f"its entry '{name}' holds half of a character (a lone surrogate)") from None
    return found
