"""Text to tokens. A tokenizer is a function `str -> list[str]`, selected by a name that checkpoints carry."""

from __future__ import annotations

from collections.abc import Callable, Sequence

Tokenizer = Callable[[str], Sequence[str]]


def _basic_english() -> Tokenizer:
    """torchtext's normaliser: lower case, punctuation split off, double quotes and `<br />` removed."""
    from torchtext.data.utils import get_tokenizer

    tokenizer: Tokenizer = get_tokenizer("basic_english")
    return tokenizer


# Factories, so that torchtext and its imports load only with the first tokenizer that needs them.
_FACTORIES: dict[str, Callable[[], Tokenizer]] = {"basic_english": _basic_english}

TOKENIZERS = tuple(_FACTORIES)


def get_tokenizer(name: str) -> Tokenizer:
    """Return the tokenizer called `name`, one of `TOKENIZERS`.

    >>> get_tokenizer("basic_english")("It's <br />GOOD.")
    ['it', "'", 's', 'good', '.']

    Raises:
        ValueError: there is no tokenizer of that name.
    """
    if name not in _FACTORIES:
        raise ValueError(f"unknown tokenizer '{name}'; there are {', '.join(TOKENIZERS)}")
    return _FACTORIES[name]()
