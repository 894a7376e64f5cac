"""A whole run of the language model on a small text: what it leaves, what it shows, and its checkpoint in use."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import pytest
import torch

import unroll
from tests.tasks.conftest import novel_config
from tests.training.boards import events
from tests.training.conftest import Finished, finish
from unroll import checkpoint
from unroll.errors import DataError
from unroll.inference.evaluate import evaluate
from unroll.inference.generate import LoadedLanguageModel

WORDS = ["the ", "sea ", "island ", "and ", "captain ", "of\n"]


@pytest.fixture(scope="session")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("".join(random.Random(0).choices(WORDS, k=1500)))
    return path


@pytest.fixture(scope="session")
def written(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The small run."""
    config = novel_config(
        text,
        encoder__hidden_size=32,
        optimizer__learning_rate=0.03,
        optimizer__warmup_fraction=0.3,
        trainer__max_epochs=4,
        trainer__gradient_clip_val=0.5,
        trainer__log_every_n_steps=5,
        data__batch_size=16,
        data__random_offset=True,
        tbptt__window=16,
    )
    config.run_dir = str(tmp_path_factory.mktemp("runs") / "run")
    return finish(config)


def test_the_run_learns_and_its_summary_is_complete(written: Finished) -> None:
    summary = written.summary
    assert summary == json.loads((written.folder / "summary.json").read_text())
    assert (summary["task"], summary["status"]) == ("mysterious_island", "completed")
    data, train = summary["data"], summary["train"]
    assert (data["source"], data["unknown"]) == ("local", 0)
    lane = (data["train"] - 1) // 16
    assert train["tokens"] == 4 * 16 * lane
    assert train["steps"] == 4 * math.ceil(lane / 16)
    names = ("bpc", "loss", "perplexity", "accuracy", "bpb")
    assert set(summary["metrics"]) == {f"{split}/{name}" for split in ("val", "test") for name in names}
    # A word of six says log2(6) = 2.6 bits, in 5.2 characters on average.
    assert 0.4 < summary["metrics"]["test/bpc"] < 0.8
    assert summary["metrics"]["val/bpc"] == pytest.approx(summary["metrics"]["val/loss"] / math.log(2), rel=1e-5)


def test_the_best_checkpoint_is_that_of_the_fewest_bits(written: Finished) -> None:
    bits = [point.value for point in events(written.folder).Scalars("val/bpc")]
    assert len(bits) == 4
    assert written.summary["metrics"]["val/bpc"] == pytest.approx(min(bits))


@pytest.mark.parametrize("split", ["val", "test"])
def test_the_figures_are_those_of_the_checkpoint_in_use(written: Finished, text: Path, split: str) -> None:
    best = Path(written.summary["checkpoints"]["best"])
    figures = evaluate(best, None, split)
    for name in ("bpc", "loss", "perplexity", "accuracy"):
        assert figures[name] == pytest.approx(written.summary["metrics"][f"{split}/{name}"], abs=1e-5)
    assert figures["characters"] == written.summary["data"][split] - 1
    part = text.read_text()[-written.summary["data"]["test"] :]
    (text.parent / "part.txt").write_text(part)
    if split == "test":
        assert evaluate(best, text.parent / "part.txt", "test") == pytest.approx(figures, abs=1e-6)


def test_dynamic_evaluation_has_names_of_its_own(written: Finished) -> None:
    figures = evaluate(Path(written.summary["checkpoints"]["best"]), None, "val", dynamic=True)
    assert figures["dynamic_bpc"] == pytest.approx(written.summary["metrics"]["val/bpc"], abs=0.05)
    assert set(figures) == {
        *(f"dynamic_{name}" for name in ("bpc", "loss", "perplexity", "accuracy", "bpb")),
        "characters",
        "tokens",
        "unknown",
    }


@pytest.mark.parametrize(("dynamic", "prefix"), [(False, ""), (True, "dynamic_")])
def test_a_mixture_is_no_worse_than_its_parts_and_comes_after_them(
    written: Finished, dynamic: bool, prefix: str
) -> None:
    """Its weights are fitted on this very part; expectation maximisation comes close to the best, and ends."""
    best = Path(written.summary["checkpoints"]["best"])
    figures = evaluate(best, None, "val", dynamic=dynamic, mix=True)
    pure = evaluate(best, None, "val", dynamic=dynamic)
    assert {name: figures[name] for name in pure} == pytest.approx(pure, abs=1e-6)
    assert figures[f"{prefix}mixed_bpc"] <= min(figures[f"{prefix}bpc"], figures["ngram_bpc"]) + 1e-3
    names = [name for name in figures if name.endswith("bpc")]
    assert names == [f"{prefix}bpc", f"{prefix}calibrated_bpc", "ngram_bpc", f"{prefix}mixed_bpc"]
    assert figures[f"{prefix}calibrated_bpc"] <= figures[f"{prefix}bpc"] + 1e-6
    assert figures[f"{prefix}calibrated_accuracy"] == figures[f"{prefix}accuracy"]


def test_a_mixture_needs_the_training_text(written: Finished, text: Path) -> None:
    best = Path(written.summary["checkpoints"]["best"])
    own = text.read_text()
    try:
        for changed, message in ((own[::-1], "not the one that the model was trained on"), (None, "can't be had")):
            text.unlink()
            if changed is not None:
                text.write_text(changed)
            with pytest.raises(DataError, match=f"{message}.*leave out --mix") as caught:
                evaluate(best, Path(__file__), "test", mix=True)
            assert "\n" not in str(caught.value)
    finally:
        text.write_text(own)


def test_a_mixture_needs_the_symbols_of_the_training_text(written: Finished, tmp_path: Path) -> None:
    content = checkpoint.load(Path(written.summary["checkpoints"]["best"]))
    content["vocabulary"][2:4] = content["vocabulary"][3:1:-1]
    checkpoint.save(content, tmp_path / "other.ckpt")
    with pytest.raises(DataError, match=r"has other symbols than the model .*leave out --mix"):
        evaluate(tmp_path / "other.ckpt", Path(__file__), "test", mix=True)


def test_tensorboard_has_the_curves_and_the_samples(written: Finished) -> None:
    board = events(written.folder)
    tags = board.Tags()
    train = ("loss", "bpc", "accuracy", "learning_rate", "gradient_norm", "clipped", "tokens_per_second")
    assert {f"train/{name}" for name in train} <= set(tags["scalars"])
    samples = [tag for tag in tags["tensors"] if tag.startswith("samples/")]
    assert len(samples) == 4
    for tag in samples:
        texts = [event.tensor_proto.string_val[0].decode() for event in board.Tensors(tag)]
        assert len(texts) == 4
        assert all(len(shown) > 500 for shown in texts)
        assert len({shown[:20] for shown in texts}) == 1 or "beginning" in tag  # the same prompt each time


def test_the_screen_tells_what_was_used_and_what_to_type_next(written: Finished) -> None:
    for part in ("data: local", "characters: ", "epoch 4/4  val/bpc", "k tokens/s", "unroll generate "):
        assert part in written.screen


def test_the_checkpoint_writes_what_it_has_read(written: Finished, text: Path) -> None:
    model = unroll.load(written.summary["checkpoints"]["best"])
    assert isinstance(model, LoadedLanguageModel)
    passage = model.generate("the ", length=400, temperature=0.5)
    assert passage.startswith("the ")
    known = {word.strip() for word in WORDS}
    words = passage.split()[:-1]
    assert sum(word in known for word in words) > 0.9 * len(words)
    assert model.generate("", length=5)[0] == text.read_text()[0]


def test_weights_are_plain_data(written: Finished) -> None:
    content = torch.load(written.summary["checkpoints"]["last"], weights_only=True)
    assert content["tokenizer"] == "characters"
    assert content["labels"] == []
    assert content["config"]["task"] == "mysterious_island"
