r"""Text to tokens and back, by rules that are selected by a name; checkpoints carry it.

Every rule gives the same tokens for a text as for its lines one by one, where a line ends with its `\n`.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

Split = Callable[[str], Iterable[str]]
Writer = Callable[[str], str]


@dataclass(frozen=True)
class Rule:
    """How a text is cut, and how tokens become a text again."""

    split: Split
    """From a text to its tokens; for `bpe` to pieces, which `unroll.text.bpe` cuts into tokens."""
    writer: Callable[[str], Writer]
    """Given the text so far, a function from each token that follows to what it adds to the text."""
    unit: str
    """What a token is called on screen."""


# In torchtext's order: without its quote, `<br" />` is a line break.
_BASIC_ENGLISH = (
    ("'", " ' "),
    ('"', ""),
    (".", " . "),
    ("<br />", " "),
    *((mark, f" {mark} ") for mark in ",()!?"),
    *((mark, " ") for mark in ";:"),
)

# A single space between two words is no token: it is written between two tokens that are words.
_WORDS = re.compile(r"\S+|(?<!\S)\s|\s(?!\S)|[^\S ]")

# Letters and marks, digits, or punctuation, each with the space before it, or blanks; like GPT-2's (Radford et al.
# 2019), but no piece crosses a line end or is longer than a space and 64 characters: texts without spaces are cut as
# well. No piece holds both letters and punctuation: `<unk>` in a text never becomes the token of that name.
_PUNCTUATION = (
    r"!-/:-@\[-`{-~\u00a1\u00a7\u00ab\u00b6\u00b7\u00bb\u00bf\u2010-\u2027\u2030-\u205e"
    r"\u3001-\u3003\u3008-\u3011\u3014-\u301f\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65"
)
_PIECES = re.compile(
    rf" ?[^\s\d{_PUNCTUATION}]{{1,64}}| ?\d{{1,64}}| ?[{_PUNCTUATION}]{{1,64}}|[^\S\n]{{1,64}}(?!\S)|\s"
)
LONGEST_PIECE = 1 + 64 * 4  # bytes


def _basic_english(text: str) -> list[str]:
    """torchtext's `basic_english`, in a third of its time: its patterns are plain strings, which need no regular
    expressions. Lower case, punctuation split off, double quotes and `<br />` removed."""
    text = text.lower()
    for old, new in _BASIC_ENGLISH:
        text = text.replace(old, new)
    return text.split()


def as_bytes(text: str) -> str:
    """Return the bytes of a text in UTF-8, each as the character of that number: bytes are tokens of one character."""
    return text.encode("utf-8", "surrogatepass").decode("latin-1")


def _pieces(text: str) -> Iterable[str]:
    return (as_bytes(match.group()) for match in _PIECES.finditer(text))


def _words(text: str) -> Iterable[str]:
    return (match.group() for match in _WORDS.finditer(text))


def _plain(before: str) -> Writer:
    return str


def _spaced(before: str) -> Writer:
    """Write a space between two words."""
    last = before[-1:] or " "

    def write(token: str) -> str:
        nonlocal last
        gap = "" if last.isspace() or token[0].isspace() else " "
        last = token[-1]
        return gap + token

    return write


def _utf8(before: str) -> Writer:
    """Write each character when its last byte is there, and U+FFFD for bytes that make no character."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    return lambda token: decoder.decode(token.encode("latin-1"))


_RULES = {
    "basic_english": Rule(_basic_english, _spaced, "words"),  # loses upper case, spaces and line ends
    "whitespace": Rule(_words, _spaced, "words"),  # words as they stand; a line end, or a second space, is a token too
    "characters": Rule(str, _plain, "characters"),
    "bytes": Rule(as_bytes, _utf8, "bytes"),
    "bpe": Rule(_pieces, _utf8, "tokens"),
}

BYTE_LEVEL = ("bytes", "bpe")  # their tokens are made of bytes, see `as_bytes`


def rule(name: str) -> Rule:
    """Return the rule called `name`, one of `unroll.config.settings.TOKENIZERS`.

    Raises:
        ValueError: there is no tokenizer of that name.
    """
    if name not in _RULES:
        raise ValueError(f"unknown tokenizer '{name}'; there are {', '.join(_RULES)}")
    return _RULES[name]


def get_tokenizer(name: str) -> Split:
    """Return the `split` of a rule.

    >>> get_tokenizer("basic_english")("It's <br />GOOD.")
    ['it', "'", 's', 'good', '.']
    >>> list(get_tokenizer("whitespace")("It's  GOOD.\\n"))
    ["It's", ' ', ' ', 'GOOD.', '\\n']

    Raises:
        ValueError: there is no tokenizer of that name.
    """
    return rule(name).split
