"""Put measured tables into the docs: `python -m benchmarks.publish [FOLDER]`, the folder that `--out` named.

Each table's JSON goes to docs/figures/ and its picture, if it has one, to docs/pictures/. In the pages that show it,
the table is written between these two lines:

    <!-- table: NAME -->
    <!-- end of table -->
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from benchmarks.request import ROOT
from benchmarks.table import Table
from unroll import cli, durable
from unroll.errors import UserError

PAGES = (
    *(f"docs/{name}.md" for name in ("performance", "results", "study", "guides/scale-out", "guides/deploy")),
    "README.md",
)
_MARKED = re.compile(r"(<!-- table: (\S+) -->\n).*?(<!-- end of table -->\n)", flags=re.DOTALL)


def publish(folder: Path, root: Path = ROOT) -> None:
    """Copy the tables of a folder to a repository's docs, and write them into the pages that show them.

    Raises:
        UserError: the folder has no table, or a page shows a table that was never published.
    """
    tables = sorted(folder.glob("*.json"))
    if not tables:
        raise UserError(f"{folder}: holds no table; measure one by python -m benchmarks TABLE")
    for path in tables:
        durable.write_text(root / "docs" / "figures" / path.name, path.read_text(encoding="utf-8"))
        if (drawn := path.with_suffix(".png")).exists():
            with durable.replacing(root / "docs" / "pictures" / f"table_{path.stem}.png") as picture:
                picture.write(drawn.read_bytes())
    for page in PAGES:
        text = (root / page).read_text(encoding="utf-8")
        durable.write_text(root / page, fill(text, root / "docs" / "figures"))


def fill(page: str, figures: Path) -> str:
    """Return a page's text with the tables of a folder between its marks.

    Raises:
        UserError: a marked table is not in the folder.
    """

    def filled(mark: re.Match[str]) -> str:
        path = figures / f"{mark[2]}.json"
        if not path.exists():
            raise UserError(f"{path}: no such file; publish this table, or take its mark out of the page")
        return f"{mark[1]}\n{Table.load(path).markdown()}\n{mark[3]}"

    return _MARKED.sub(filled, page)


def main() -> None:
    parser = argparse.ArgumentParser(description="Put measured tables into the docs.")
    parser.add_argument("folder", nargs="?", type=Path, default=Path("runs/benchmarks"), help="default: %(default)s")
    publish(parser.parse_args().folder)


if __name__ == "__main__":
    sys.exit(cli.run(main))
