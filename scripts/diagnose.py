"""Look inside the recurrence: `python scripts/diagnose.py textbook` recomputes published figures."""

from __future__ import annotations

import argparse
import sys

from rich.console import Console
from rich.table import Table

from unroll import cli
from unroll.errors import UserError


def main() -> None:
    parser = argparse.ArgumentParser(description="Check and look into recurrences.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    textbook_ = commands.add_parser("textbook", help="recompute published figures by four ways, and compare")
    textbook_.set_defaults(run=textbook)
    arguments = parser.parse_args()
    arguments.run()


def textbook() -> None:
    """Print a line for each case and quantity, and fail where one is beyond the published rounding."""
    from unroll.diagnostics.textbook import compare, found_slips, published

    figures = published()
    comparisons = list(compare(figures))
    ways = list(dict.fromkeys(comparison.way for comparison in comparisons))
    table = Table("case", "quantity", *ways, "allowed", "", box=None, padding=(0, 2, 0, 0))
    for column in table.columns[2:-1]:
        column.justify = "right"
    for case, quantity in dict.fromkeys((comparison.case, comparison.quantity) for comparison in comparisons):
        row = {c.way: c for c in comparisons if (c.case, c.quantity) == (case, quantity)}
        some = next(iter(row.values()))
        cells = [f"{row[way].difference:.0e}" if way in row else "" for way in ways]
        verdict = "ok" if all(comparison.passed for comparison in row.values()) else "DIFFERS"
        table.add_row(case, quantity, *cells, f"{some.allowed:.0e}", verdict)
    console = Console()
    console.width = max(console.width, 120)  # lines of figures do not fold
    console.print(table)
    for quantity, slip in found_slips(figures):
        console.print(f"published as wrong, {quantity}: {slip}", highlight=False)
    failed = [comparison for comparison in comparisons if not comparison.passed]
    if failed:
        worst = max(failed, key=lambda comparison: comparison.difference)
        raise UserError(
            f"{len(failed)} of {len(comparisons)} figures differ, most of all {worst.quantity} of {worst.case} by "
            f"{worst.way}; see the table"
        )
    console.print(f"{len(comparisons)} figures agree to the digits published", highlight=False)


if __name__ == "__main__":
    sys.exit(cli.run(main))
