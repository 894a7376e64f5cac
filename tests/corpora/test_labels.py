"""Labels become classes, and names that look alike are noticed."""

import pytest

from unroll.corpora.labels import label_ids, lookalikes, number_labels
from unroll.errors import DataError

NAMES = ("negative", "positive")


@pytest.mark.parametrize(
    ("labels", "names", "expected", "ids"),
    [
        ([1, 0, 1], NAMES, NAMES, [1, 0, 1]),
        ([1, 0, 1], None, ("0", "1"), [1, 0, 1]),
        ([10, 2, 7], None, ("2", "7", "10"), [2, 0, 1]),
        ([1, 2, 1], NAMES, ("1", "2"), [0, 1, 0]),
        (["good", "bad"], NAMES, ("bad", "good"), [1, 0]),
        (["good", "bad"], None, ("bad", "good"), [1, 0]),
        (["positive", "negative"], ("positive", "negative"), ("positive", "negative"), [0, 1]),
        (["true", "false"], NAMES, ("false", "true"), [1, 0]),
        ([0, 2], ("a", "b", "c"), ("a", "b", "c"), [0, 2]),
        (["1", "02"], None, ("02", "1"), [1, 0]),
        ([-1, 1, 0], None, ("-1", "0", "1"), [0, 2, 1]),
        # The names of classes 0, 1, … are whole numbers themselves, in the order of their letters, or from 1.
        ([2, 1, 0], ("1", "10", "2"), ("1", "10", "2"), [2, 1, 0]),
    ],
)
def test_names_are_used_where_all_labels_fit_them(
    labels: list[int | str], names: tuple[str, ...] | None, expected: tuple[str, ...], ids: list[int]
) -> None:
    found, numbers = number_labels(labels, names, "t.csv")
    assert (found, [numbers[label] for label in labels]) == (expected, ids)
    assert label_ids(labels, found, "t.csv").tolist() == ids
    assert label_ids(labels, found, "t.csv", numbers=numbers).tolist() == ids


def test_an_integer_is_an_index_into_the_names_of_the_data() -> None:
    stars = ("1", "2", "3", "4", "5")
    names, numbers = number_labels([4, 0, 1, 2, 3], stars, "t.parquet")
    assert names == stars
    assert label_ids([0, 4, "4"], names, "test.parquet", numbers=numbers).tolist() == [0, 4, 3]


def test_a_table_of_another_origin_has_the_digits_of_names_that_are_integers() -> None:
    stars = ("1", "2", "3", "4", "5")
    assert label_ids([1, 5, "4"], stars, "t.csv").tolist() == [0, 4, 3]
    with pytest.raises(DataError, match="row 1 has the label 0; the labels are 1, 2, 3, 4, 5"):
        label_ids([0, 1], stars, "t.csv")


def test_a_strange_label_is_cut_in_the_message() -> None:
    with pytest.raises(DataError) as error:
        label_ids(["x" * 900], [str(number) for number in range(500)], "t.csv")
    assert len(str(error.value)) < 300
    with pytest.raises(DataError) as error:
        number_labels(["x" * 900] * 2, None, "t.csv")
    assert len(str(error.value)) < 200


def test_one_class_is_refused() -> None:
    with pytest.raises(DataError, match=r"^t\.csv: every row has the label 'good'; a classifier needs two classes"):
        number_labels(["good", "good"], NAMES, "t.csv")


@pytest.mark.parametrize(
    ("names", "pairs"),
    [
        (["negative", "positive"], []),
        (["1", "2", "10"], []),
        (["A", "B", "B-", "C++", "C#"], []),
        (["Positive", "positive", "negative"], [("Positive", "positive")]),
        ([" positive", "positive"], [(" positive", "positive")]),
        (["very good", "very  good", "verygood"], [("very good", "very  good"), ("very good", "verygood")]),
        (["sci-fi", "sci_fi", "sci fi"], [("sci-fi", "sci_fi"), ("sci-fi", "sci fi")]),
        (["1", "1.0"], [("1", "1.0")]),
        (["01", "1", "2"], [("01", "1")]),
        (["999999999999999998", "999999999999999999"], []),
        (["１", "1"], [("１", "1")]),
        (["ＰＯＳ", "pos"], [("ＰＯＳ", "pos")]),
        (["straße", "STRASSE"], [("straße", "STRASSE")]),
        (["cafe\u0301", "caf\u00e9"], [("cafe\u0301", "caf\u00e9")]),
        (["0", "1", "negative", "positive"], [("0", "negative")]),
        (["1", "1.0", "one"], [("1", "1.0"), ("1", "one")]),
        (["nan", "inf", "e"], []),
    ],
)
def test_lookalikes(names: list[str], pairs: list[tuple[str, str]]) -> None:
    assert lookalikes(names) == pairs
