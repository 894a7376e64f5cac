"""The tokenizer that the configs name cuts texts as its published rules say."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torchtext.data.utils import get_tokenizer as torchtext_s

from unroll.config.settings import TOKENIZERS
from unroll.text.tokenizers import get_tokenizer


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("A plain sentence", ["a", "plain", "sentence"]),
        ("It's <br />GOOD.", ["it", "'", "s", "good", "."]),
        ("one<br /><br />two", ["one", "two"]),
        ("one<BR />two", ["one", "two"]),
        ("one<br/>two", ["one<br/>two"]),
        ('He said "no".', ["he", "said", "no", "."]),
        ('5"x"6', ["5x6"]),
        ("yes,no;maybe:so", ["yes", ",", "no", "maybe", "so"]),
        ("(What?!)", ["(", "what", "?", "!", ")"]),
        ("10/10... well-made", ["10/10", ".", ".", ".", "well-made"]),
        ("good😀 👍🏽.", ["good😀", "👍🏽", "."]),
        ("a\x00b \x00", ["a\x00b", "\x00"]),
        ("tab\tline\r\nbreak\u00a0and\u2003space", ["tab", "line", "break", "and", "space"]),
        ("ÉCOLE straße", ["école", "straße"]),
        ("", []),
        (" \t\r\n\u00a0\u3000", []),
        ('<br /> ";:" <br />', []),
        ('<br" />', []),
    ],
)
def test_basic_english(text: str, tokens: list[str]) -> None:
    assert list(get_tokenizer("basic_english")(text)) == tokens


def cut_character_by_character(text: str) -> list[str]:
    tokens, word = [], ""
    for character in text.lower() + " ":
        if character == '"':
            continue
        alone = character in "'.,()!?"
        if not (alone or character in ";:" or character.isspace()):
            word += character
            continue
        tokens += [word] if word else []
        tokens += [character] if alone else []
        word = ""
    return tokens


@given(st.lists(st.sampled_from("aB9é😀<>/'\".,()!?;: \t\n\u00a0") | st.characters(), max_size=30).map("".join))
def test_basic_english_against_a_scan(text: str) -> None:
    text = text.replace("<", "")  # no <br />
    assert list(get_tokenizer("basic_english")(text)) == cut_character_by_character(text)


@given(st.lists(st.sampled_from(["<br />", "<br", " />", *"aB'\".,()!?;: \t\n\u00a0İß\x1c"]), max_size=30).map("".join))
def test_basic_english_is_torchtext_s(text: str) -> None:
    assert get_tokenizer("basic_english")(text) == torchtext_s("basic_english")(text)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="unknown tokenizer 'spacy'; there are basic_english"):
        get_tokenizer("spacy")
    assert all(map(get_tokenizer, TOKENIZERS))


def test_importing_is_cheap() -> None:
    script = "import sys, unroll.text.tokenizers; print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not {"torchtext", "torch", "numpy"} & set(result.stdout.split())
