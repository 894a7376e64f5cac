"""Ids stand for the text, whatever the tokenizer; sizes are its characters and bytes; merges are the paper's."""

import io
import re
from collections import Counter
from collections.abc import Iterable
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from unroll.config.settings import BPE_SIZE, TOKENIZERS
from unroll.inference.content import codec_of
from unroll.text import bpe, codec
from unroll.text.codec import Codec, TokenSize, count
from unroll.text.tokenized import segmented, tokenize
from unroll.text.tokenizers import get_tokenizer
from unroll.text.vocabulary import UNKNOWN_ID

QUICK = settings(deadline=None, max_examples=40)
LOSSLESS = tuple(name for name in TOKENIZERS if name != "basic_english")
ENGLISH = "It's the sea, the “sea”,\n  and the island.\n\nThe\tsea – 1,000 miles!  \n"
CHINESE = "我喜欢这部电影。太好看了！\n这部电影不好看。"
THAI = "หนังเรื่องนี้ดีมาก\nไม่ดีเลย 100%\n"
TEXTS = st.lists(
    st.sampled_from([*"ab. \n\t_é我ี1\u3000\x1c\u2028", "  ", "the ", "<unk>", "<pad>", "x" * 70])
    | st.characters(exclude_categories=["Cs"]),
    max_size=30,
).map("".join)


@cache
def learn(name: str, text: str, max_size: int | None = None, min_freq: int = 1) -> Codec:
    return Codec.learn(name, count(name, text), min_freq, max_size)


@pytest.mark.parametrize("name", LOSSLESS)
@pytest.mark.parametrize("known", [ENGLISH, CHINESE, THAI])
@given(text=TEXTS)
@QUICK
def test_known_tokens_give_the_text_back(name: str, known: str, text: str) -> None:
    made = learn(name, known if name in ("bytes", "bpe") else known + "\n" + text, 300 if name == "bpe" else None)
    if name == "whitespace":  # where a text spells out a reserved name, it is an unknown word
        text = text.replace("<", "")
        made = learn(name, known + "\n" + text)
    ids = made.encode(text)
    assert UNKNOWN_ID not in ids
    assert made.decode(ids.tolist()) == "".join(map(made.writer(), made.tokens(text))) == text
    assert made.encode(known).tolist() == made.vocabulary.encode(made.tokens(known))


@pytest.mark.parametrize("name", TOKENIZERS)
@given(text=TEXTS)
@QUICK
def test_a_text_is_cut_like_its_lines(name: str, text: str) -> None:
    split = get_tokenizer(name)
    lines = io.StringIO(text, newline="\n").readlines()
    assert [*split(text)] == [token for line in lines for token in split(line)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codec, "CHUNK", 3)
        counts, ids = count(name, text), learn(name, ENGLISH, 260 if name == "bpe" else None).encode(text)
    assert counts == count(name, text) == Counter(split(text))
    assert ids.tolist() == learn(name, ENGLISH, 260 if name == "bpe" else None).encode(text).tolist()


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("The sea, the  sea\nand", ["The", "sea,", "the", " ", " ", "sea", "\n", "and"]),
        (" a b ", [" ", "a", "b", " "]),
        ("a\tb\r\n\nc", ["a", "\t", "b", "\r", "\n", "\n", "c"]),
        ("", []),
    ],
)
def test_whitespace(text: str, tokens: list[str]) -> None:
    assert [*get_tokenizer("whitespace")(text)] == tokens


@given(text=TEXTS)
@QUICK
def test_words_are_those_that_str_splits(text: str) -> None:
    assert [token for token in get_tokenizer("whitespace")(text) if not token.isspace()] == text.split()


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("The sea, isn't", ["The", " sea", ",", " isn", "'", "t"]),
        ("in 1865:  a\n\n  b", ["in", " 1865", ":", " ", " a", "\n", "\n", " ", " b"]),
        ("end  \nx\ty", ["end", "  ", "\n", "x", "\t", "y"]),
        ("<unk> <pad>", ["<", "unk", ">", " <", "pad", ">"]),
        ("ไม่ดี 5", ["ไม่ดี", " 5"]),
        ("好看。太好了", ["好看", "。", "太好了"]),
        ("x" * 150, ["x" * 64, "x" * 64, "x" * 22]),
    ],
)
def test_pieces(text: str, pieces: list[str]) -> None:
    assert [piece.encode("latin-1").decode() for piece in get_tokenizer("bpe")(text)] == pieces


def merges_by_hand(counts: dict[str, int], number: int) -> list[str]:
    """Sennrich et al. 2016, algorithm 1. Of pairs that are equally frequent, the one whose tokens are oldest."""
    words, tokens, merges = {tuple(word): n for word, n in counts.items()}, [chr(b) for b in range(256)], []
    for _ in range(number):
        pairs: Counter[tuple[str, str]] = Counter()
        for word, n in words.items():
            for pair in pairwise(word):
                pairs[pair] += n
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], tokens.index(pair[0]), tokens.index(pair[1])))
        merges.append("\n".join(best))
        tokens += ["".join(best)] if "".join(best) not in tokens else []
        words = {joined(word, best): n for word, n in words.items()}
    return merges


def joined(word: Iterable[str], pair: tuple[str, str]) -> tuple[str, ...]:
    found: list[str] = []
    for token in word:
        if found and (found[-1], token) == pair:
            found[-1] += token
        else:
            found.append(token)
    return tuple(found)


@pytest.mark.parametrize("text", [ENGLISH, CHINESE, THAI])
def test_merges_and_tokens_are_those_of_the_paper(text: str) -> None:
    counts = dict(count("bpe", text))
    made = learn("bpe", text, 256 + 25)
    assert [*made.merges] == merges_by_hand(counts, 25)
    for piece in counts:
        word: tuple[str, ...] = tuple(piece)
        for merge in made.merges:
            word = joined(word, (merge.partition("\n")[0], merge.partition("\n")[2]))
        assert [made.vocabulary.tokens[id_] for id_ in made.piecewise()([piece])] == list(word)


def test_ids_are_those_of_the_library_from_text_to_text() -> None:
    """Hugging Face's own pipeline over words and spaces, without our pieces, counts and vocabulary."""
    text = "".join(f"the {word} of the {word}s and a lower {word}er " for word in ("sea", "low", "new", "island")) * 3
    theirs = tokenizers.Tokenizer(tokenizers.models.BPE())
    theirs.pre_tokenizer = tokenizers.pre_tokenizers.Split(tokenizers.Regex(r" ?[a-z]+| "), "isolated")
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=290, initial_alphabet=[chr(byte) for byte in range(256)], show_progress=False
    )
    theirs.train_from_iterator([text], trainer)
    ours = learn("bpe", text, 290)
    assert ours.tokens("a lowest island seas") == theirs.encode("a lowest island seas").tokens
    assert [*ours.vocabulary.tokens[2:]] == [theirs.id_to_token(id_) for id_ in range(len(ours.vocabulary) - 2)]
    assert len(ours.vocabulary) > 2 + 256 + 20


def test_sizes_and_frequencies_bound_what_is_learnt() -> None:
    counts = {"abab": 10, "cd": 3, "ef": 2}
    assert Codec.learn("bpe", counts, max_size=257).merges == ("a\nb",)
    assert Codec.learn("bpe", counts, min_freq=3).merges == ("a\nb", "ab\nab", "c\nd")
    assert len(Codec.learn("bpe", count("bpe", "".join(f"w{i:06}x " for i in range(9999)))).vocabulary) == BPE_SIZE + 2
    assert learn("whitespace", "b b a a c", 2).vocabulary.tokens[2:] == ("a", "b")
    assert learn("whitespace", "b b a a c", min_freq=2).vocabulary.tokens[2:] == ("a", "b")
    assert [*learn("bytes", "a", min_freq=9).vocabulary.tokens[2:]] == [chr(byte) for byte in range(256)]


def test_what_is_learnt_does_not_depend_on_the_order_of_the_counts() -> None:
    counts = count("bpe", ENGLISH * 3 + CHINESE)
    assert bpe.learn(counts, 330) == bpe.learn(dict(sorted(counts.items())), 330)


def test_the_size_of_tokens_by_hand() -> None:
    # "é我 ab" has 5 characters and 2 + 3 + 1 + 2 bytes.
    assert learn("characters", "é我 ab").tokenize("é我 ab").size == TokenSize(1.0, 6 / 4, 0.0)
    assert learn("bytes", "").tokenize("é我 ab").size == TokenSize(4 / 7, 1.0, 0.0)
    # The first token, without which two words of seven characters and nine bytes are left, has four and four.
    words = learn("whitespace", "some words")
    assert words.tokenize("some words é我").size == TokenSize(9 / 2, 12 / 2, 8 * (5 + 1) / 2)
    assert words.tokenize("zoo words words").size.spelling == 0  # nobody predicts the first
    assert words.tokenize("some zoo words").size.spelling == 8 * 4 / 2
    assert TokenSize(2.0, 4.0, 3.0).bits(np.log(32.0)) == pytest.approx(8.0)


@pytest.mark.parametrize("name", TOKENIZERS)
def test_texts_of_one_token_or_none_have_a_size(name: str) -> None:
    made = learn(name, ENGLISH)
    for text in ("", "a", "é", '"', " "):
        tokenized = made.tokenize(text)
        assert all(value > 0 for value in tokenized.size[:2])
        assert made.first(text) == "".join(made.tokens(text)[:1])


@pytest.mark.parametrize("name", ["bytes", "bpe"])
def test_any_string_and_any_bytes_have_a_text(name: str) -> None:
    made = learn(name, ENGLISH, 300 if name == "bpe" else None)
    assert UNKNOWN_ID not in made.encode("\ud83d\x00")
    write = made.writer("before")
    assert [write(token) for token in "a\xe6\x88\x91\xffb"] == ["a", "", "", "我", "\ufffd", "b"]
    assert made.label("\xe6\x88") == r"\xe6\x88"


@pytest.mark.parametrize("name", ["whitespace", "basic_english"])
def test_a_space_stands_between_two_words_alone(name: str) -> None:
    for before, text in (("", "a b"), ("The", " a b"), ("The ", "a b"), ("The\n", "a b")):
        assert "".join(map(learn(name, "").writer(before), "ab")) == text
    assert "".join(map(learn(name, "").writer(), ["a", "\n", "b", " ", "c"])) == "a\nb c"


@pytest.mark.parametrize("name", TOKENIZERS)
def test_a_codec_survives_a_checkpoint(name: str) -> None:
    made = learn(name, ENGLISH + CHINESE, 280 if name == "bpe" else None)
    again = codec_of(made.about(), name)
    assert again == made
    assert again.encode(CHINESE + ENGLISH).tolist() == made.encode(CHINESE + ENGLISH).tolist()
    assert ("merges" in made.about()) == (name == "bpe")


def test_damaged_merges_are_refused() -> None:
    good = learn("bpe", ENGLISH, 280).about()
    doubled = [f"{'a' * 2**n}\n{'a' * 2**n}" for n in range(20)]  # without a bound, a token of a megabyte
    for merges in (
        None,
        [],
        {},
        "th",
        [3],
        [["t", "h"]],
        ["th"],
        ["zz\nh"],
        ["t\nh\ne"],
        [*good["merges"], "t\n"],
        doubled,
    ):
        with pytest.raises(ValueError, match=r"its (entry 'merges'|vocabulary) .*(missing|holds|is not|no merge)"):
            codec_of(good | {"merges": merges}, "bpe")
    for vocabulary in (good["vocabulary"][:-1], [*good["vocabulary"], "more"], ["<pad>", "<unk>", "a"]):
        with pytest.raises(ValueError, match="its vocabulary is not that of the tokenizer bpe"):
            codec_of(good | {"vocabulary": vocabulary}, "bpe")
    with pytest.raises(ValueError, match="its vocabulary is not that of the tokenizer bytes"):
        codec_of(good, "bytes")


@given(st.lists(TEXTS, max_size=8))
@QUICK
def test_documents_are_cut_one_by_one(texts: list[str]) -> None:
    corpus = tokenize(((text, 0) for text in texts), "bpe")
    made = learn("bpe", ENGLISH + CHINESE, 290)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("unroll.text.tokenized.CHUNK", 3)
        cut = segmented(corpus, made)
    documents = [cut.tokens[a:b].tolist() for a, b in pairwise(cut.offsets)]
    assert documents == [made.encode(text).tolist() for text in texts]
    assert cut.types == [*made.vocabulary.tokens]
    assert cut.tokens[-1] == len(cut.types)
    assert isinstance(cut.tokens, np.memmap) and cut.tokens.dtype == np.uint16


def test_no_token_is_called_unknown() -> None:
    made = learn("bpe", "<unk> and <pad> " * 500, 400)
    assert not re.search("<unk>|<pad>", "".join(made.vocabulary.tokens[2:]).replace("\x00", ""))
    assert made.decode(made.encode("<unk> <pad>").tolist()) == "<unk> <pad>"
