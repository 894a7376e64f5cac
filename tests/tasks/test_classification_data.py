"""From files to batches: splits, vocabulary, counts, and what is refused."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tests.settings import from_dict
from unroll.batching.documents import LookedUp
from unroll.compose import compose
from unroll.corpora.labels import label_ids
from unroll.errors import DataError
from unroll.tasks import documents
from unroll.tasks.classification import Classification
from unroll.tasks.classification_data import ClassificationData
from unroll.tasks.documents import words
from unroll.tasks.spec import load_data


def write(path: Path, rows: list[tuple[str, object]]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    return path


def load(path: Path, seed: int = 0, **settings: object) -> ClassificationData:
    places = {"path": str(path), "folder": str(path.parent / "cache")}
    data: ClassificationData = load_data(from_dict({"seed": seed, "data": places | settings}))
    return data


def texts(data: ClassificationData, split: str) -> list[str]:
    documents = getattr(data, split)
    return [words(documents, row, data.codec) for row in range(len(documents))]


def numbered(count: int) -> list[tuple[str, object]]:
    return [(f"word{i}", i % 2) for i in range(count)]


def test_the_splits_hold_every_row_once_in_the_classes_proportions(tmp_path: Path) -> None:
    rows = [(f"word{i}", "rare" if i % 4 == 0 else "common") for i in range(400)]
    data = load(write(tmp_path / "all.csv", rows), val_fraction=0.25, test_fraction=0.2)
    assert (len(data.train), len(data.val), len(data.test)) == (240, 80, 80)
    assert data.labels == ("common", "rare")
    for split in (data.train, data.val, data.test):
        assert split.labels.mean() == pytest.approx(0.25, abs=0.01)
    everything = np.concatenate([split.starts for split in (data.train, data.val, data.test)])
    assert sorted(everything) == list(range(400))
    assert data.test_is_held_out


def test_a_split_is_a_function_of_the_seed(tmp_path: Path) -> None:
    path = write(tmp_path / "all.csv", numbered(100))
    first, again, other = (load(path, seed) for seed in (3, 3, 4))
    assert list(first.val.starts) == list(again.val.starts)
    assert list(first.val.starts) != list(other.val.starts)


def test_equal_texts_stay_on_one_side(tmp_path: Path) -> None:
    rows = [(f"word{i % 40}", i % 2) for i in range(200)]  # each text five times
    data = load(write(tmp_path / "all.csv", rows), val_fraction=0.3, test_fraction=0.3)
    of_row = [text for text, _ in rows]
    sides = [{of_row[start] for start in split.starts} for split in (data.train, data.val, data.test)]
    assert not sides[0] & sides[1]
    assert not sides[0] & sides[2]
    assert not sides[1] & sides[2]
    assert data.counts.duplicates == 160


def test_the_vocabulary_knows_the_training_split_alone(tmp_path: Path) -> None:
    data = load(write(tmp_path / "all.csv", numbered(100)))
    assert set(data.vocabulary.tokens[2:]) == set(texts(data, "train"))
    assert set(texts(data, "val")) == set(texts(data, "test")) == {"<unk>"}


def test_min_freq_and_max_size_reach_the_vocabulary(tmp_path: Path) -> None:
    rows: list[tuple[str, object]] = [("often often some", 0), ("often some rare", 1)] * 20
    rows = [(f"{text} number{i}", label) for i, (text, label) in enumerate(rows)]
    path = write(tmp_path / "all.csv", rows)
    assert load(path, min_freq=2).vocabulary.tokens[2:] == ("often", "some", "rare")
    assert load(path, max_size=1).vocabulary.tokens[2:] == ("often",)


@pytest.mark.parametrize(("truncate", "expected"), [("end", "a b"), ("start", "c d")])
def test_long_documents_are_truncated_and_counted(tmp_path: Path, truncate: str, expected: str) -> None:
    write(tmp_path / "train.csv", [(f"n{i} b c d" if truncate == "start" else f"a b c n{i}", i % 2) for i in range(40)])
    write(tmp_path / "test.csv", [("a b c d", 0), ("a b", 1), ("a", 0)])
    data = load(tmp_path, max_length=2, truncate=truncate)
    assert list(data.test.lengths) == [2, 2, 1]
    assert texts(data, "test")[0] == expected
    assert data.counts.shortened == 40 + 1
    assert int(data.train.lengths.max()) == 2


def test_a_document_without_words_is_one_unknown_word_and_is_counted(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", numbered(100))
    write(tmp_path / "test.csv", [("", 0), (" \t ", 1), ('""', 0), ("<br />", 1), ("word0", 1)])
    data = load(tmp_path)
    assert list(data.test.lengths) == [1, 1, 1, 1, 1]
    assert texts(data, "test")[:4] == ["<unk>"] * 4
    assert data.counts.empty == 4
    assert not data.test_is_held_out


def test_texts_of_the_test_split_that_were_trained_on_are_counted(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", numbered(100))
    write(tmp_path / "test.csv", [("word5", 1), ("Word5", 1), ("new", 0)])
    assert load(tmp_path).counts.test_in_train == 1


def test_a_limit_is_a_proportional_sample_of_the_training_split_alone(tmp_path: Path) -> None:
    rows = [(f"word{i}", "rare" if i % 5 == 0 else "common") for i in range(1000)]
    path = write(tmp_path / "all.csv", rows)
    whole, limited = load(path), load(path, limit=50)
    assert len(limited.train) == 50
    assert Counter(limited.train.labels.tolist()) == {0: 40, 1: 10}
    assert list(limited.val.starts) == list(whole.val.starts)
    assert len(limited.vocabulary) == 52


def test_integer_labels_that_are_not_0_to_n_are_named_by_their_digits(tmp_path: Path) -> None:
    data = load(write(tmp_path / "all.csv", [(f"w{i}", (10, 2, 7)[i % 3]) for i in range(90)]))
    assert data.labels == ("2", "7", "10")
    assert set(data.train.labels.tolist()) == {0, 1, 2}


def test_labels_of_the_test_file_may_be_names_or_numbers() -> None:
    path = Path("test.csv")
    assert list(label_ids([1, 0], ("negative", "positive"), path)) == [1, 0]
    assert list(label_ids(["positive", "negative"], ("negative", "positive"), path)) == [1, 0]
    assert list(label_ids([10, 2], ("2", "10"), path)) == [1, 0]
    with pytest.raises(DataError, match=r"test\.csv: row 2 has the label 'good'; the labels are negative, positive"):
        label_ids(["positive", "good"], ("negative", "positive"), path)


def test_one_class_only_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "all.csv", [(f"w{i}", "good") for i in range(20)])
    with pytest.raises(DataError, match="every row has the label 'good'; a classifier needs two classes"):
        load(path)


def test_too_few_rows_of_a_class_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "all.csv", [*numbered(50), ("alone", "2")])
    with pytest.raises(DataError, match=r"all\.csv: no row labelled '2' is left in the training split"):
        load(path)


def test_a_new_epoch_is_a_new_order_and_evaluation_has_one(tmp_path: Path) -> None:
    data = load(write(tmp_path / "all.csv", numbered(300)), batch_size=8)
    loader = data.train_dataloader()
    orders = []
    for epoch in (0, 1, 0):
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        orders.append([batch.ids.flatten().tolist() for batch in loader])
    assert orders[0] != orders[1]
    assert orders[0] == orders[2]
    assert [b.ids.tolist() for b in data.val_dataloader()] == [b.ids.tolist() for b in data.val_dataloader()]


def test_the_reviews_are_validated_on_stretches(tmp_path: Path) -> None:
    rows = [(f"film {i // 20} number {i}", i % 2) for i in range(400)]
    path = write(tmp_path / "all.csv", rows)
    films = {}
    for split in ("random", "blocks"):
        data = load(path, split=split, block_size=40, val_fraction=0.2, test_fraction=0.2)
        train, val = ({text.split()[1] for text in texts(data, part)} for part in ("train", "val"))
        films[split] = len(train & val)
    assert films["blocks"] <= 4 < films["random"]  # at the ends of two blocks of each class
    assert compose(["task=imdb"]).data.split == "blocks"


def report(path: Path, **settings: object) -> str:
    return "\n".join(load(path, **settings).report())


def test_classes_are_told_with_their_sizes_the_largest_first(tmp_path: Path) -> None:
    rows = [(f"word{i}", "rare" if i % 4 == 0 else "common") for i in range(400)]
    told = report(write(tmp_path / "all.csv", rows), val_fraction=0.25, test_fraction=0.2)
    assert "classes: common 180, rare 60" in told
    assert "warning" not in told.replace("tokens are unknown", "").replace("warning: 100%", "")


def test_classes_that_look_alike_are_warned_of(tmp_path: Path) -> None:
    rows = [(f"word {i}", ("Positive", "positive", "negative")[i % 3]) for i in range(120)]
    told = report(write(tmp_path / "all.csv", rows))
    assert "warning: the classes 'Positive' and 'positive' look alike" in told


def test_small_classes_and_unknown_words_are_warned_of(tmp_path: Path) -> None:
    rows: list[tuple[str, object]] = [(f"only{i}", "large") for i in range(90)]
    rows += [(f"also{i}", "small") for i in range(9)]
    told = report(write(tmp_path / "all.csv", rows))
    assert "warning: 1 classes have fewer than 10 training documents (small)" in told
    assert "warning: 100% of the validation split's tokens are unknown; lower data.min_freq" in told
    common = [(f"the film of number {i % 7} and {i % 9}", str(i % 2)) for i in range(90)]
    assert "tokens are unknown" not in report(write(tmp_path / "common.csv", common))


def test_rare_classes_weigh_more_if_asked(tmp_path: Path) -> None:
    """Against scikit-learn's formula: documents / (classes x documents of the class)."""
    rows = [(f"word{i % 7}", "rare" if i % 5 == 0 else "common") for i in range(200)]
    path = write(tmp_path / "all.csv", rows)
    config = from_dict({"data": {"path": str(path), "folder": str(tmp_path), "class_weights": "balanced"}})
    data = load_data(config)
    module = Classification(config, data, total_steps=10)
    common, rare = (int((data.train.labels == label).sum()) for label in (0, 1))
    total = common + rare
    assert module.class_weights is not None
    assert module.class_weights.tolist() == pytest.approx([total / (2 * common), total / (2 * rare)])
    batch = data.train[list(range(20))]
    losses = F.cross_entropy(module.model(batch.ids, batch.lengths), batch.labels, reduction="none")
    weights = torch.tensor([total / (2 * (common, rare)[label]) for label in batch.labels.tolist()])
    expected = float((losses * weights).sum() / weights.sum())
    assert float(module.training_step(batch, 0)["loss"]) == pytest.approx(expected, rel=1e-5)


def test_kaggles_table_trains_by_two_settings_which_the_error_names(tmp_path: Path) -> None:
    path = tmp_path / "IMDB Dataset.csv"
    rows = "".join(f'"A film, number {i}.",{("positive", "negative")[i % 2]}\n' for i in range(100))
    path.write_text("review,sentiment\n" + rows)
    with pytest.raises(DataError, match=r"write data\.text_column=review data\.label_column=sentiment"):
        load(path)
    data = load(path, text_column="review", label_column="sentiment")
    assert data.labels == ("negative", "positive")


def test_data_is_read_once_and_prepared_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`prepare_data` leaves the tokens on disk; `setup`, as in another process, finds them there."""
    path = write(tmp_path / "all.csv", numbered(100))
    config = from_dict({"data": {"path": str(path), "folder": str(tmp_path / "cache")}})
    ClassificationData(config).prepare_data()
    monkeypatch.setattr(documents, "tokenize", None)
    data = ClassificationData(config)
    data.setup()
    train = data.train
    data.setup()
    assert data.train is train
    assert len(train) + len(data.val) + len(data.test) == 100


def test_a_label_of_the_test_table_that_no_class_has_is_told_with_its_row(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", numbered(100))
    write(tmp_path / "test.csv", [("a", 1), ("b", 0), ("c", 1), ("d", 7), ("e", 8), ("f", 7)])
    with pytest.raises(DataError, match=r"test\.csv: row 4 has the label 7; the labels are 0, 1"):
        load(tmp_path)


def test_tokens_stay_on_disk_and_ids_are_looked_up(tmp_path: Path) -> None:
    data = load(write(tmp_path / "all.csv", [(f"word{i % 7} film", i % 2) for i in range(200)]))
    assert isinstance(data.train.ids, LookedUp)
    assert isinstance(data.train.ids.tokens, np.memmap)
    assert data.train.ids.tokens.dtype == np.uint8
    assert data.train.ids.tokens is data.val.ids.tokens  # type: ignore[attr-defined]


def test_a_folder_of_tables_trains_as_one_table(tmp_path: Path) -> None:
    rows = [(f"word{i % 9} and word{i % 5}", i % 2) for i in range(120)]
    whole = load(write(tmp_path / "all.csv", rows))
    for part in range(3):
        (tmp_path / "parts" / "train").mkdir(parents=True, exist_ok=True)
        write(tmp_path / "parts" / "train" / f"{part}.csv", rows[40 * part : 40 * part + 40])
    parts = load(tmp_path / "parts")
    assert parts.fingerprint == whole.fingerprint
    assert [texts(parts, split) for split in ("train", "val", "test")] == [
        texts(whole, split) for split in ("train", "val", "test")
    ]


def unlabelled(path: Path, **settings: object) -> ClassificationData:
    return load(path, unlabelled="required", **settings)


@pytest.mark.parametrize("with_test", [True, False])
def test_unlabelled_texts_are_those_that_no_split_is_judged_by(tmp_path: Path, with_test: bool) -> None:
    write(tmp_path / "train.csv", numbered(100))
    if with_test:
        write(tmp_path / "test.csv", [("word5 new", 1), ("other new", 0)])
    before = load(tmp_path)
    judged = {f"word{start}" for start in before.val.starts}
    judged |= {"word5 new", "other new"} if with_test else {f"word{start}" for start in before.test.starts}
    offered = [f"word{i}" for i in range(100)] + ["word5 new", "other new", "word5 unheard of", ""]
    (tmp_path / "unlabelled.csv").write_text("text\n" + "".join(f'"{text}"\n' for text in offered))
    assert before.unlabelled is None
    data = unlabelled(tmp_path, max_length=2)
    assert data.unlabelled is not None
    for split in ("train", "val", "test"):
        assert list(getattr(data, split).starts) == list(getattr(before, split).starts)
    kept = [text for text in offered if text not in judged]
    known = {word for text in [*kept, *(f"word{row}" for row in before.train.starts)] for word in text.split()}
    assert set(data.vocabulary.tokens) == known | {"<pad>", "<unk>"}
    expected = [" ".join(word if word in known else "<unk>" for word in text.split()[:2]) or "<unk>" for text in kept]
    assert texts(data, "unlabelled") == expected
    assert set(data.unlabelled.labels) == {-1}
    left_out = len(offered) - len(kept)
    assert data.report()[1] == (
        f"without labels: {len(kept)}; {left_out} copies of validation or test texts are left out"
    )
    assert data.describe()["unlabelled"] == len(kept)
    assert "unlabelled" not in before.describe()
    (tmp_path / "unlabelled.csv").write_text("text\nanother\n")
    other = unlabelled(tmp_path, max_length=2)
    assert len({before.fingerprint, data.fingerprint, other.fingerprint}) == 3


def test_unlabelled_texts_that_are_all_held_out(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", numbered(100))
    write(tmp_path / "test.csv", [("new", 1), ("newer", 0)])
    (tmp_path / "unlabelled.jsonl").write_text('{"text": "new"}\n')
    with pytest.raises(
        DataError, match=r"unlabelled\.jsonl: every text is in the validation or test split as well; add"
    ):
        unlabelled(tmp_path)
