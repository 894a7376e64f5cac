"""One setting chooses the tokens of either task: what is learnt from where, what figures mean, and what is written."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tests.settings import from_dict
from tests.tasks.conftest import MakeTask
from unroll import checkpoint
from unroll.config.settings import TOKENIZERS
from unroll.diagnostics.explain import judge_text, surprise
from unroll.errors import ConfigError, DataError
from unroll.inference.classify import LoadedClassifier
from unroll.inference.generate import LoadedLanguageModel
from unroll.tasks.classification_data import ClassificationData
from unroll.tasks.documents import words
from unroll.tasks.spec import load_data
from unroll.training.init_from import initialise

STORY = (
    "".join(f"{one} {do} the {other}.\n" for one in ["我", "Ann", "Bé"] for do in ("sees", "é") for other in "ab") * 20
)


def made(make_task: MakeTask, tokenizer: str, text: str = STORY, **settings: Any) -> tuple[Any, Any]:
    sizes = {"data__max_size": 270} if tokenizer == "bpe" else {}
    return make_task(text, data__tokenizer=tokenizer, data__batch_size=2, tbptt__window=4, **sizes, **settings)


def in_use(task: Any, data: Any) -> LoadedLanguageModel:
    return LoadedLanguageModel(task.model.eval(), data.codec, data.opening, task.config, {})


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_parts_hold_the_same_text_whatever_the_tokens(make_task: MakeTask, tokenizer: str) -> None:
    _, data = made(make_task, tokenizer, data__min_freq=1)
    val_start, test_start = round(0.9 * len(STORY)), round(0.95 * len(STORY))
    parts = {"train": STORY[:val_start], "val": STORY[val_start:test_start], "test": STORY[test_start:]}
    for name, text in parts.items():
        assert getattr(data, name).ids.tolist() == data.vocabulary.encode(data.codec.tokens(text))
    assert data.about()["tokenizer"] == data.describe()["tokenizer"] == tokenizer
    assert data.opening == data.codec.tokens(STORY)[0]


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_tokens_are_learnt_from_the_training_part_alone(make_task: MakeTask, tokenizer: str) -> None:
    _, data = made(make_task, tokenizer)
    cut = round(0.9 * len(STORY))
    _, other = made(make_task, tokenizer, STORY[:cut] + ("zq " * len(STORY))[: len(STORY) - cut])
    assert other.codec == data.codec
    _, changed = made(make_task, tokenizer, ("zq zq zq. \n" * len(STORY))[:cut] + STORY[cut:])
    assert (changed.codec == data.codec) == (tokenizer == "bytes")


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_figures_are_total_bits_over_characters_and_bytes(make_task: MakeTask, tokenizer: str) -> None:
    task, data = made(make_task, tokenizer, data__limit=200)
    task.eval()
    text = STORY[round(0.9 * len(STORY)) : round(0.95 * len(STORY))]
    tokens = data.codec.tokens(text)
    ids = torch.tensor(data.vocabulary.encode(tokens))
    with torch.no_grad():
        logits, _ = task.model(ids[None, :-1])
    bits = float(F.cross_entropy(logits[0].double(), ids[1:], reduction="sum")) / math.log(2)
    if tokenizer in ("whitespace", "basic_english"):  # 8 bits for each byte of an unknown word, and 8 for its end
        unknown = [token for token in tokens[1:] if token not in data.vocabulary.tokens]
        bits += sum(8 * len(token.encode()) + 8 for token in unknown)
    left = text.encode()[1:] if tokenizer == "bytes" else text[len(tokens[0]) :].encode()
    if tokenizer == "bpe":
        left = text.encode()[len(tokens[0]) :]
    characters, size = len(left.decode(errors="ignore")), len(left)
    for batch in data.val_dataloader():
        task.evaluate(batch, "val")
    figures = task.metrics["val"][0].compute()
    score = in_use(task, data).score(data.codec.tokenize(text))
    for found in (figures, score):
        assert found["bpc"] == pytest.approx(bits / characters, rel=1e-5)
        assert found["bpb"] == pytest.approx(bits / size, rel=1e-5)
        assert found["perplexity"] == pytest.approx(math.exp(found["loss"]))
    assert (score["characters"], score["tokens"]) == (characters, len(tokens) - 1)
    assert score["unknown"] == sum(token not in data.vocabulary.tokens for token in tokens)


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_a_text_of_any_tokens_has_the_length_asked_for(make_task: MakeTask, tokenizer: str) -> None:
    task, data = made(make_task, tokenizer)
    model = in_use(task, data)
    prompts = ["Ann sees", "", "Ann sees the"]
    texts = model.generate(prompts, length=37, temperature=0.9, seed=3)
    for prompt, text in zip(prompts, texts, strict=True):
        assert text.startswith(prompt) and len(text) == len(prompt) + 37
    steps = list(model.stream(prompts, 37, 0.9, seed=3))
    assert ["".join(parts) for parts in zip(prompts, *steps, strict=True)] == texts
    assert model.generate(prompts[:1], 37, 0.9, seed=3) == texts[:1]  # its length does not depend on the others
    longer = model.generate(prompts, 50, 0.9, seed=3)
    if tokenizer not in ("bytes", "bpe"):  # whose last character may be cut off in the middle
        assert [text[: len(shorter)] for text, shorter in zip(longer, texts, strict=True)] == texts
    assert not any(mark in text for text in longer for mark in ("<unk>", "<pad>"))


def test_a_text_is_what_its_tokens_stand_for(make_task: MakeTask) -> None:
    """A model that copies: it is asked for the text of known ids."""
    task, data = made(make_task, "bpe")
    model = in_use(task, data)
    ids = iter(data.codec.encode("é我 a").tolist() * 2)
    model.__dict__["_stepper"] = _Says(ids, len(data.vocabulary))
    assert model.generate("Bé", 7, temperature=0) == "Béé我 aé我 "


class _Says:
    """A stepper whose likeliest symbols are given."""

    def __init__(self, ids: Any, size: int) -> None:
        self.ids, self.size = ids, size

    def read(self, prompts: Any) -> Any:
        return self.step(None, None)

    def step(self, symbols: Any, state: Any) -> Any:
        return None, np.eye(self.size, dtype=np.float32)[[next(self.ids)]]


def test_an_unknown_token_of_a_prompt_is_named(make_task: MakeTask) -> None:
    model = in_use(*made(make_task, "whitespace"))
    known = len(model.vocabulary) - 2
    message = rf"the prompt's word 'nobody' \(position 1\) is not among the {known} that the model knows; leave it out"
    with pytest.raises(DataError, match=message):
        model.generate("Ann nobody sees")
    for tokenizer in ("bytes", "bpe"):
        assert in_use(*made(make_task, tokenizer)).generate("nobody 狗", 2, temperature=0)


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_surprise_is_told_token_by_token(make_task: MakeTask, tokenizer: str) -> None:
    model = in_use(*made(make_task, tokenizer))
    text = "Ann sees 我 é"
    found, figures = surprise(model, text), model.score(model.codec.tokenize(text))
    assert found.bits_per_character == pytest.approx(figures["bpc"], rel=1e-4)
    assert found.figures()["characters"] == figures["characters"]
    assert len(found.tokens) == len(found.bits) + 1 == figures["tokens"] + 1
    if tokenizer in ("characters", "bpe"):
        assert "".join(found.tokens).replace(r"\xe6\x88\x91", "我") == text


def test_weights_are_taken_over_between_tokens_of_one_kind(make_task: MakeTask, tmp_path: Path) -> None:
    """The byte 0xE9 is the character é in no text of ours, though both are written as one sign."""
    task, _ = made(make_task, "bytes")
    content = {"state_dict": {f"model.{name}": weight for name, weight in task.model.state_dict().items()}}
    task.on_save_checkpoint(content)
    checkpoint.save(content, tmp_path / "bytes.ckpt")
    for tokenizer, shared in (("bpe", "by token, 258 of 272"), ("characters", "")):
        other, _ = made(make_task, tokenizer)
        notes = "".join(initialise(other, tmp_path / "bytes.ckpt"))
        assert shared in notes and ("by token" in notes) == bool(shared)


REVIEWS = [(f"非常{'难好'[number % 2]}看的电影{number:03}", number % 2) for number in range(120)]


def labelled(tmp_path: Path, rows: Any = REVIEWS, **settings: Any) -> ClassificationData:
    path = tmp_path / "reviews.csv"
    path.write_text("".join(f"{text},{label}\n" for text, label in [("text", "label"), *rows]))
    places = {"path": str(path), "folder": str(tmp_path / "cache")}
    data: ClassificationData = load_data(from_dict({"data": places | settings}))
    return data


@pytest.mark.parametrize(("tokenizer", "length"), [("whitespace", 1), ("characters", 10), ("bytes", 24), ("bpe", 9)])
def test_reviews_are_read_by_any_tokens(tmp_path: Path, tokenizer: str, length: int) -> None:
    data = labelled(tmp_path, tokenizer=tokenizer, max_size=275 if tokenizer == "bpe" else None)
    lengths = set(data.train.lengths.tolist())
    assert max(lengths) <= length if tokenizer == "bpe" else lengths == {length}
    if tokenizer != "whitespace":  # to which each of these texts is one unknown word
        assert {words(data.val, row, data.codec) for row in range(len(data.val))} <= {text for text, _ in REVIEWS}
    again = labelled(tmp_path, tokenizer=tokenizer, max_size=275 if tokenizer == "bpe" else None)  # from the cache
    assert again.codec == data.codec and again.train.ids[:].tolist() == data.train.ids[:].tolist()


def test_bpe_learns_from_the_training_rows_alone(tmp_path: Path) -> None:
    rows = [(f"same words here {i}", i % 2) for i in range(60)]
    data = labelled(tmp_path, rows, tokenizer="bpe", max_size=300)
    texts = [words(data.val, row, data.codec) for row in range(len(data.val))]
    other = [(text.replace("same", "eman") if text in texts else text, label) for text, label in rows]
    changed = labelled(tmp_path, other, tokenizer="bpe", max_size=300)
    assert [words(changed.val, row, changed.codec) for row in range(len(changed.val))] != texts
    assert changed.codec == data.codec
    assert labelled(tmp_path, rows[::2] * 2 + rows, tokenizer="bpe", max_size=300).codec != data.codec


def test_a_classifier_of_bpe_reads_texts_as_in_training(tmp_path: Path) -> None:
    config = from_dict({"data": {"tokenizer": "bpe"}})
    model = LoadedClassifier.untrained(config, "非常好看的电影 " * 3)
    (prediction,) = model.predict(["非常好看 x"])
    assert (prediction.tokens, prediction.unknown) == (len(model.codec.tokens("非常好看 x")), 0)
    assert "".join(judge_text(model, "非常好看 x").tokens).endswith(" x")
    with pytest.raises(ConfigError, match=r"data\.max_size=256: data\.tokenizer=bpe begins with the 256 bytes"):
        from_dict({"data": {"tokenizer": "bpe", "max_size": 256}})
    with pytest.raises(ConfigError, match=r"data\.max_size: the tokens of data\.tokenizer=bytes are the 256 bytes"):
        from_dict({"task": "language_modeling", "data": {"tokenizer": "bytes", "max_size": 300}})
