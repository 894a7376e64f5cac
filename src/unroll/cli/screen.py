"""What the commands that answer on standard output have in common: their help, and progress on standard error."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from unroll import progress


def parser(command: str, description: str, examples: Sequence[str]) -> argparse.ArgumentParser:
    """Return a parser of a command's arguments; `examples` are arguments that its help shows."""
    lines = [f"  unroll {command} {example}" for example in examples]
    return argparse.ArgumentParser(
        prog=f"unroll {command}",
        description=description,
        epilog="\n".join(["examples:", *lines]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


@contextmanager
def on_stderr(bars: bool = True) -> Iterator[None]:
    """Show progress on standard error: in a terminal a line at once, and bars; elsewhere a line now and then of what
    takes long. Without `bars` only the first line, where the answers run over the same screen."""
    if sys.stderr.isatty():
        print("unroll: loading the model", file=sys.stderr, flush=True)  # before the imports that take time
    if not bars:
        yield
        return
    from rich.console import Console

    with progress.display(Console(stderr=True)):
        yield
