"""Project Gutenberg's file of the novel in small, and what tests of the novel share."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from unroll.errors import DataError, UserError

# The shape of Project Gutenberg's file, from its byte order mark to its licence.
BEFORE = "The Project Gutenberg EBook of The Mysterious Island, by Jules Verne\n\nTitle: The Mysterious Island\n\n"
START = "*** START OF THIS PROJECT GUTENBERG EBOOK "
INSIDE = "THE MYSTERIOUS ISLAND ***\n\n\nTHE MYSTERIOUS ISLAND\n\n“Are we rising again?”\n\n*** *** ***\n\n"
END_LINE = "End of the Project Gutenberg EBook of The Mysterious Island, by Jules Verne\n\n"
END_MARK = "*** END OF THIS PROJECT GUTENBERG EBOOK THE MYSTERIOUS ISLAND ***\n"
AFTER = "\n*** START: FULL LICENSE ***\n"
FILE = BEFORE + START + INSIDE + END_LINE + END_MARK + AFTER
BOOK = ("\ufeff" + FILE).replace("\n", "\r\n").encode()
BOOK_SHA256 = hashlib.sha256(BOOK).hexdigest()

CRLF_NOTE = "CRLF line ends are read as LF"
CUT_NOTE = (
    f"only what lies between Project Gutenberg's marks is read; {len(FILE) - len(INSIDE)} characters are left out"
)
OTHER_EDITION = (
    "the file is another edition than the known one, and figures will differ: "
    f"its SHA-256 is {BOOK_SHA256[:12]}…, the known one's 355bfdc3f9b5…"
)


def written(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def complaint(work: Callable[[], object], kind: type[UserError] = DataError) -> str:
    with pytest.raises(kind) as error:
        work()
    assert "\n" not in str(error.value)
    assert "; " in str(error.value), "no remedy"
    return str(error.value)


def remedy(folder: Path) -> str:
    place = folder / "1268-0.txt"
    return (
        f"; put Project Gutenberg's book 1268 at {place}, or write data.path=FILE for a text of your own, "
        "or data.source=embedded for film reviews"
    )
