"""The plain parts of a checkpoint: its vocabulary, its labels, its tokenizer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from unroll.checkpoint import entry
from unroll.inference.arrays import Shapes, Weights, checked
from unroll.text import bpe
from unroll.text.codec import Codec
from unroll.text.tokenizers import BYTE_LEVEL
from unroll.text.vocabulary import Vocabulary


def codec_of(content: dict[str, Any], tokenizer: str) -> Codec:
    """Return the codec that a checkpoint holds. Raises ValueError where its vocabulary or its merges are none, or do
    not fit the tokenizer."""
    vocabulary = Vocabulary(words(content, "vocabulary"))
    merges = tuple(entry(content, "merges", list, of=str)) if tokenizer == "bpe" else ()
    if tokenizer in BYTE_LEVEL and bpe.vocabulary_of(merges) != vocabulary:
        raise ValueError(f"its vocabulary is not that of the tokenizer {tokenizer}")
    return Codec(tokenizer, vocabulary, merges)


def weights_of(content: dict[str, Any], shapes: Shapes | None, make: Callable[[], Any]) -> Weights[Any]:
    """Return the weights in a checkpoint's content, or in an exported folder's, which has arrays.

    Args:
        content: its entry `state_dict` is used.
        shapes: of the model's weights by their names; None where only `make` can tell.
        make: returns the model, untrained.

    Raises:
        ValueError: a weight is missing, not expected, of another shape or type, or not finite.
    """
    found = content["state_dict"]
    if shapes is not None and all(isinstance(value, np.ndarray) for value in found.values()):
        return Weights(arrays=checked(found, shapes), make=make)
    from unroll.inference.weights import with_weights

    return Weights(with_weights(make, found))


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
