"""From a text to windows: the parts in their order, the symbols of the training part, and texts that won't do."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.tasks.conftest import MakeTask, novel_config
from unroll.errors import DataError
from unroll.tasks.spec import load_data

TEXT = "".join(random.Random(0).choices("abcdefgh \n", k=1000))


def test_the_parts_are_the_text_in_its_order(make_task: MakeTask) -> None:
    _, data = make_task(TEXT)
    assert (len(data.train), len(data.val), len(data.test)) == (900, 50, 50)
    ids = [*data.train.ids.tolist(), *data.val.ids.tolist(), *data.test.ids.tolist()]
    assert "".join(data.vocabulary.decode(ids)) == TEXT
    assert data.opening == TEXT[0]
    about = data.describe()
    assert (about["source"], about["train"], about["val"], about["test"], about["unknown"]) == ("local", 900, 50, 50, 0)


def test_the_published_split_of_the_novel(make_task: MakeTask) -> None:
    """90, 5 and 5 % of 1,112,350 characters."""
    _, data = make_task("ab" * (1_112_350 // 2))
    assert (len(data.train), len(data.val), len(data.test)) == (1_001_115, 55_617, 55_618)


def test_the_vocabulary_is_the_training_parts(make_task: MakeTask) -> None:
    _, data = make_task("ab" * 450 + "abc" * 16 + "aé" + "ab" * 25)
    assert set(data.vocabulary.tokens) == {"<pad>", "<unk>", "a", "b"}
    assert data.unknown == 17
    assert data.describe()["unknown"] == 17


def test_a_limit_takes_the_first_characters_and_leaves_the_test_alone(make_task: MakeTask) -> None:
    _, data = make_task(TEXT, data__limit=100)
    assert "".join(data.vocabulary.decode(data.train.ids.tolist())) == TEXT[:100]
    assert "".join(data.vocabulary.decode(data.test.ids.tolist())) == TEXT[950:]


def test_rare_characters_are_read_as_unknown(make_task: MakeTask) -> None:
    _, data = make_task("ab" * 600 + "c", data__min_freq=2)
    assert "c" not in data.vocabulary.tokens


@pytest.mark.parametrize(
    ("text", "settings", "message"),
    [
        ("ab" * 6, {}, "leave 0 for validation and 1 for the test"),
        ("ab" * 50, {"tbptt__window": 90}, "write tbptt.window=89 or less"),
        ("ab" * 50, {"data__batch_size": 20}, "write data.batch_size=11 or less"),
        ("ab" * 50, {"data__batch_size": 500}, "500 lanes make 0 a lane"),
        ("a" * 100, {}, "the training part holds 'a' alone"),
        ("", {}, "empty"),
        (" \n" * 100, {}, "text.txt"),
    ],
)
def test_a_text_that_will_not_do_is_named(
    make_task: MakeTask, text: str, settings: dict[str, object], message: str
) -> None:
    with pytest.raises(DataError) as caught:
        make_task(text, **settings)
    assert message in str(caught.value)
    assert "text.txt" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_the_message_says_to_write_works(make_task: MakeTask) -> None:
    make_task("ab" * 50, data__batch_size=11)
    make_task("ab" * 50, data__batch_size=1, tbptt__window=89)


def test_validation_is_one_stream_whatever_the_lanes(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    for lanes, window in ((1, 3), (5, 40)):
        config = novel_config(path, data__batch_size=lanes, tbptt__window=window)
        data = load_data(config)
        (batch,) = data.val_dataloader()
        assert batch.ids.shape == (1, 49)
        assert batch.starts.tolist() == [True]
