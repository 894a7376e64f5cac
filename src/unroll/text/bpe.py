"""Byte-pair encoding (Sennrich et al. 2016, arXiv:1508.07909), by Hugging Face's `tokenizers`.

Pieces of text, as bytes, are cut into tokens: every byte is one at first, then pairs of neighbours are joined in the
order in which they were learnt. A merge is written "left\\nright"; no longer piece holds a line end.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from unroll.config.settings import BYTES
from unroll.text.tokenizers import LONGEST_PIECE
from unroll.text.vocabulary import PAD, UNKNOWN, Vocabulary

ALPHABET = tuple(map(chr, range(BYTES)))

_END = chr(BYTES)  # of a piece; no byte
_AT_ONCE = 2**20  # characters handed over at a time, about


def learn(counts: Mapping[str, int], size: int, min_freq: int = 1) -> tuple[str, ...]:
    """Return the merges for pieces that occur so often.

    Args:
        counts: of the pieces, which `unroll.text.tokenizers` makes.
        size: of the vocabulary, the 256 bytes counted. It becomes smaller where no pairs are left.
        min_freq: pairs that occur less often are not joined.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer: Any = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Split(_END, "removed")
    trainer = trainers.BpeTrainer(
        vocab_size=size, min_frequency=min_freq, initial_alphabet=list(ALPHABET), show_progress=False
    )
    tokenizer.train_from_iterator(_repeated(counts), trainer)
    return tuple("\n".join(merge) for merge in json.loads(tokenizer.to_str())["model"]["merges"])


def _repeated(counts: Mapping[str, int]) -> Iterator[str]:
    """Yield texts that hold each piece as often as it was counted: the trainer takes no counts."""
    for piece, count in counts.items():
        at_once = max(1, _AT_ONCE // (len(piece) + 1))
        for start in range(0, count, at_once):
            yield (piece + _END) * min(at_once, count - start)


def vocabulary_of(merges: Sequence[str]) -> Vocabulary:
    """Return the bytes and what each merge makes, in their order.

    Raises:
        ValueError: a merge joins what is no token yet, or makes a token that is longer than any piece.
    """
    tokens = dict.fromkeys(ALPHABET)
    for merge in merges:
        left, _, right = merge.partition("\n")
        if left not in tokens or right not in tokens or len(left) + len(right) > LONGEST_PIECE:
            raise ValueError("its entry 'merges' holds something that is no merge of two tokens before it")
        tokens[left + right] = None
    return Vocabulary([PAD, UNKNOWN, *tokens])


def model_of(vocabulary: Vocabulary, merges: Sequence[str]) -> Any:
    """Return the `tokenizers.models.BPE` whose `tokenize` gives the tokens of a piece, with their ids."""
    from tokenizers import models

    ids = {token: id_ for id_, token in enumerate(vocabulary.tokens)}
    pairs = [(left, right) for left, _, right in (merge.partition("\n") for merge in merges)]
    return models.BPE(ids, pairs)
