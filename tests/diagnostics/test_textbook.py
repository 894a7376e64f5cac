"""The check of published figures: it passes them, and fails whatever is not them."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch

from tests.scripts import Shell
from unroll.diagnostics import textbook
from unroll.diagnostics.textbook import WAYS, Comparison, compare, found_slips, published, slips


def test_every_figure_agrees_by_every_way() -> None:
    comparisons = list(compare(published()))
    assert all(comparison.passed for comparison in comparisons)
    cases = {case["name"] for group in ("forward", "gradients") for case in published()[group]}
    for way in WAYS:
        assert cases <= {comparison.case for comparison in comparisons if comparison.way == way}
    # Each published quantity is looked at: of 14 cases their outputs, states, projections, gradients and shapes.
    assert len({(comparison.case, comparison.quantity) for comparison in comparisons}) == 29


def changed(path: list[Any], by: float) -> dict[str, Any]:
    figures = copy.deepcopy(published())
    place = figures
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] += by
    return figures


@pytest.mark.parametrize(
    ("path", "by"),
    [
        (["forward", 1, "output", 3, 1], 0.002),
        (["forward", 2, "h_n", 0, 0], -0.001),
        (["forward", 2, "weights", "bias_hh_l0_reverse", 0], 0.01),
        (["seeded", "output", 2, 1], 1e-5),
        (["gradients", 0, "grad_x", 0], 100),
        (["gradients", 1, "grad_x", 3], 1e-12),
        (["gradients", 2, "grad_x", 5], 0.001),
        (["gradients", 3, "grad_weight_hh", 2], 0.001),
        (["shapes", "h_n_shape", 0], 1),
    ],
)
def test_a_figure_beyond_its_rounding_fails_by_every_way(path: list[Any], by: float) -> None:
    failed = {comparison.way for comparison in compare(changed(path, by)) if not comparison.passed}
    assert failed == ({"encoder"} if path[0] == "shapes" else set(WAYS))


def test_a_difference_that_is_no_number_fails() -> None:
    assert not Comparison("case", "way", "output", math.nan, 1.0).passed


def test_the_wrong_figures_are_those_of_a_known_slip() -> None:
    found = dict(found_slips(published()))
    assert len(found) == 2
    assert set(found.values()) == {"b_hh is used in the place of b_ih"}


@pytest.mark.parametrize(
    ("slip", "change"),
    [
        ("b_ih is used in the place of b_hh", lambda w: w | {"bias_hh_l0": w["bias_ih_l0"]}),
        ("b_hh is left out", lambda w: {name: value for name, value in w.items() if name != "bias_hh_l0"}),
        ("b_ih is left out", lambda w: {name: value for name, value in w.items() if name != "bias_ih_l0"}),
        ("W_hh is used transposed", lambda w: w | {"weight_hh_l0": w["weight_hh_l0"].T}),
    ],
)
def test_other_slips_are_told_apart(slip: str, change: Any) -> None:
    sizes = {"weight_ih_l0": (3, 2), "weight_hh_l0": (3, 3), "bias_ih_l0": (3,), "bias_hh_l0": (3,)}
    weights = {name: torch.randn(size).double() for name, size in sizes.items()}
    wrong, h = [], torch.zeros(3).double()
    given = {"bias_ih_l0": 0.0, "bias_hh_l0": 0.0} | change(weights)
    x = torch.randn(4, 2).double()
    for step in x:
        from_h = given["weight_hh_l0"] @ h + given["bias_hh_l0"]
        h = torch.tanh(given["weight_ih_l0"] @ step + given["bias_ih_l0"] + from_h)
        wrong.append(h)
    assert slips(weights, x, torch.stack(wrong), 1e-9) == [slip]
    assert slips(weights, x, torch.stack(wrong) + 0.1, 1e-9) == []


def test_the_command_prints_a_table_and_fails_where_a_figure_differs(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = shell("diagnose.py", "textbook")
    assert said.code == 0
    assert "104 figures agree" in said.out
    assert "b_hh is used in the place of b_ih" in said.out
    assert max(len(line) for line in said.out.splitlines()) <= 120
    monkeypatch.setattr(textbook, "published", lambda: changed(["forward", 0, "output", 0, 0], 0.5))
    said = shell("diagnose.py", "textbook")
    assert said.code == 1
    assert "4 of 104 figures differ" in said.one_line()
    assert "DIFFERS" in said.out


def test_wrong_usage_exits_with_2(shell: Shell) -> None:
    assert shell("diagnose.py").code == 2
    assert shell("diagnose.py", "textbok").code == 2
