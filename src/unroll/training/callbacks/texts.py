"""How callbacks log texts and pictures: texts unchanged, and an error of either as a warning."""

from __future__ import annotations

import string
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from unroll.progress import say
from unroll.shown import shown

LONGEST = 80  # characters of a message


@contextmanager
def optional(what: str) -> Iterator[None]:
    """Show an error as a warning in one line: a picture or a text that fails does not end the run.

    Raises:
        OSError: a logger's files can't be written.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # libraries warn of tight layouts and of classes without examples
            yield
    except OSError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        say(f"warning: {what} is not logged; {shown(reason, LONGEST)}")


def escaped(text: str, longest: int | None = None) -> str:
    """Return Markdown that shows a text unchanged, in a table's cell too. `unroll.shown` explains `longest`."""
    signs = (f"&#{ord(sign)};" if sign in string.punctuation else sign for sign in shown(text, longest))
    return "".join(signs).replace("  ", "&nbsp; ")
