"""What every run writes for TensorBoard: settings to compare runs by, and texts that TensorBoard shows unchanged."""

from __future__ import annotations

import html
import io
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tensorboard.plugin_util import markdown_to_safe_html

from tests.training.boards import events
from tests.training.conftest import small_config
from unroll import progress
from unroll.tasks.metrics import per_class
from unroll.tasks.spec import from_dict
from unroll.training.callbacks import pictures, recurrence
from unroll.training.callbacks.texts import escaped, optional
from unroll.training.hyperparameters import hyperparameters
from unroll.training.start import train

pytestmark = pytest.mark.pictures

USUAL = {
    "encoder.cell": "lstm",
    "encoder.hidden_size": 64,
    "optimizer.learning_rate": 3e-3,
    "data.batch_size": 32,
    "seed": 0,
}


def test_settings_at_their_defaults_are_few() -> None:
    assert hyperparameters(from_dict({})) == USUAL
    novel = hyperparameters(from_dict({"kind": "language_modeling"}))
    assert list(novel) == list(USUAL)
    assert (novel["encoder.hidden_size"], novel["optimizer.learning_rate"]) == (512, 5e-3)


def test_settings_that_differ_are_there_and_numbers_are_numbers() -> None:
    values: dict[str, Any] = {
        "task": "mine",
        "seed": 3,
        "run_dir": "somewhere",
        "data": {"path": "any.csv", "min_freq": 5, "limit": 100, "batch_size": None, "max_tokens": 4000},
        "encoder": {"bidirectional": False, "options": {"a": ["\x1b[31m", None]}},
        "model": {"pooling": ["last"], "dropout": 0.0},
        "trainer": {"gradient_clip_val": None, "max_time": "00:01:00:00"},
    }
    found = hyperparameters(from_dict(values))
    expected = USUAL | {
        "seed": 3,
        "data.batch_size": "null",
        "task": "mine",
        "data.min_freq": 5,
        "data.limit": 100,
        "data.max_tokens": 4000,
        "encoder.bidirectional": "false",
        "encoder.options": '{"a": ["\\u001b[31m", null]}',
        "model.pooling": '["last"]',
        "model.dropout": 0.0,
        "trainer.gradient_clip_val": "null",
        "trainer.max_time": "00:01:00:00",
    }
    assert found == expected
    assert list(found)[: len(USUAL)] == list(USUAL)


@pytest.mark.parametrize(
    "text",
    [
        "1. a list",
        "- another",
        "# a title",
        "    code and  spaces",
        "<b>&lt;</b> *a* _b_ `c` ~~d~~ [e](f) ![g](h) \\* $i$",
        "a | b",
        "===",
        "> said",
        "http://example.org",
        "中文 مرحبا 😀",
    ],
)
@pytest.mark.parametrize("place", ["{}", "| head |\n| --- |\n| {} |"])
def test_a_text_is_shown_as_it_is(text: str, place: str) -> None:
    """By TensorBoard itself: what it makes of the Markdown has no markup beside the table, and the very text."""
    page = markdown_to_safe_html(place.format(escaped(text)))
    assert set(re.findall(r"<(\w+)", page)) <= {"p", "table", "thead", "tbody", "tr", "th", "td"}
    shown = html.unescape(re.sub(r"<[^>]*>", "\n", page)).replace("\xa0", " ")
    assert text.strip() in [line.strip() for line in shown.splitlines()]


def test_control_characters_of_a_text_are_visible() -> None:
    assert escaped("a\x1b[31m\nb\u202e", longest=8) == "a␛&#91;31m↵…"


def test_class_names_in_tags_are_safe_and_distinct() -> None:
    def names(*labels: str) -> list[str]:
        wrapper: Any = per_class(labels)["recall"]
        return list(wrapper.labels)

    assert names("good", "a/b", "\x1b[31m\n") == ["good", "a/b", "␛[31m↵"]
    assert names("\n", "↵") == ["0 ↵", "1 ↵"]
    long = names("x" * 1000 + "a", "x" * 1000 + "b")
    assert len(set(long)) == 2 and all(len(name) < 100 for name in long)


def test_an_error_in_a_picture_is_a_warning_and_one_of_the_disk_is_not() -> None:
    screen = io.StringIO()
    with progress.display(Console(file=screen, width=40)):
        with optional("val/confusion"):
            raise ValueError("no \x1b[31mplace\nand more " + "x" * 1000)
        with pytest.raises(OSError, match="full"), optional("val/confusion"):
            raise OSError("full")
    (line,) = screen.getvalue().splitlines()
    assert line == "warning: val/confusion is not logged; ValueError: no ␛[31mplace"


def test_a_run_whose_pictures_fail_is_completed(reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no picture")

    monkeypatch.setattr(pictures, "confusion_matrix", broken)
    monkeypatch.setattr(recurrence, "draw", broken)
    screen = io.StringIO()
    config = small_config(reviews, tmp_path / "run", trainer={"max_epochs": 1})
    with progress.display(Console(file=screen)):
        assert train(config)["status"] == "completed"
    for name in ("val/confusion", "recurrence/gradient_by_lag"):
        assert f"warning: {name} is not logged; RuntimeError: no picture" in screen.getvalue()
    assert events(tmp_path / "run").Tags()["images"] == ["val/precision_recall"]
