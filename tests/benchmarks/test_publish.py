"""The docs show the tables of the kept JSON, and one command publishes a measured table."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.publish import PAGES, fill, publish
from benchmarks.table import Bars, Column, Table
from tests.scripts import ROOT
from unroll.errors import UserError

TABLE = Table(
    name="tiny",
    caption="two ways, cpu",
    columns={"way": Column("training"), "speed": Column("tokens/s", "{:,.0f}"), "share": Column("share", "{:.0%}")},
    rows=[{"way": "slow", "speed": 1234.4, "share": 0.25}, {"way": "fast", "speed": 5_000_000}],
    bars=(Bars("tokens/s", {"speed": "speed"}),),
)
MARKDOWN = """\
| training | tokens/s | share |
|---|---:|---:|
| slow | 1,234 | 25% |
| fast | 5,000,000 |  |

two ways, cpu.
"""
PAGE = "# Speed\n\n<!-- table: tiny -->\n{}<!-- end of table -->\n\nMore.\n"


def pages(folder: Path) -> dict[str, str]:
    return {page: (folder / page).read_text() for page in PAGES}


def test_the_docs_show_the_kept_figures() -> None:
    figures = ROOT / "docs" / "figures"
    for text in pages(ROOT).values():
        assert fill(text, figures) == text
    shown = {name for text in pages(ROOT).values() for name in re.findall(r"<!-- table: (\S+) -->", text)}
    assert sorted(shown) == sorted(path.stem for path in figures.iterdir())


def test_a_table_as_markdown_before_and_after_it_is_kept(tmp_path: Path) -> None:
    assert TABLE.markdown() == MARKDOWN
    picture = TABLE.save(tmp_path)
    assert Table.load(picture.with_suffix(".json")).markdown() == picture.with_suffix(".md").read_text() == MARKDOWN


def test_publishing_puts_a_table_between_its_marks_and_nowhere_else(tmp_path: Path) -> None:
    for page in PAGES:
        (tmp_path / page).parent.mkdir(exist_ok=True)
        (tmp_path / page).write_text(PAGE.format("| an | old one |\n"))
    TABLE.save(tmp_path / "measured")
    for _ in range(2):  # the second time changes nothing
        publish(tmp_path / "measured", tmp_path)
        for text in pages(tmp_path).values():
            assert text == PAGE.format(f"\n{MARKDOWN}\n")
    assert (tmp_path / "docs/figures/tiny.json").read_bytes() == (tmp_path / "measured/tiny.json").read_bytes()
    assert (tmp_path / "docs/pictures/table_tiny.png").read_bytes().startswith(b"\x89PNG")


def test_what_cannot_be_published_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no table"):
        publish(tmp_path)
    with pytest.raises(UserError, match=r"tiny\.json: no such file"):
        fill(PAGE.format(""), tmp_path)
