"""The pages of the docs hold together: links, commands and settings exist, and the words are plain."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.scripts import ROOT
from unroll.config import fields
from unroll.config.sweep import SweepConfig
from unroll.tasks.spec import TASKS

DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
EVERYWHERE = [*PAGES, ROOT / "CHANGELOG.md"]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]

RIDDLES = (
    "gone on with",
    "goes on with",
    "struck",
    "have it write",
    "by that of",
    "such that",
    "for want of",
    "whoever",
)
MACHINES = re.compile(r"(?<![\w.])/(?:home|root|tmp|work|Users|mnt)/|\b[A-Z]:\\")


def without_code(text: str) -> str:
    return re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)


def anchors(page: Path) -> set[str]:
    """What a link can point to in a page: its headings, as GitHub names them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def toctree(page: Path) -> list[Path]:
    """The pages that a page's tables of contents name."""
    found = []
    for block in re.findall(r"```\{toctree\}\n(.*?)```", page.read_text(), flags=re.DOTALL):
        for line in block.splitlines():
            if line and not line.startswith(":"):
                name = match[1] if (match := re.fullmatch(r".* <(.+)>", line)) else line
                found.append((page.parent / f"{name}.md").resolve())
    return found


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


def test_every_page_is_in_the_table_of_contents_once() -> None:
    reached, todo = [DOCS / "index.md"], [DOCS / "index.md"]
    while todo:
        below = toctree(todo.pop())
        reached += below
        todo += below
    assert sorted(reached) == sorted(DOCS.rglob("*.md"))


def test_every_picture_is_shown() -> None:
    shown = {
        (page.parent / path).resolve()
        for page in PAGES
        for path in re.findall(r"!\[[^]]*\]\(([^)]+)\)", page.read_text())
    }
    assert set((DOCS / "pictures").glob("*.png")) <= shown


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_command_target_and_setting_named_exists(page: Path) -> None:
    text = page.read_text()
    code = "\n".join(re.findall(r"```(?:bash|console)\n.*?```|`[^`\n]+`", text, flags=re.DOTALL)).replace("`", "\n")
    commands = {path.stem for path in (ROOT / "scripts").glob("*.py")}
    assert set(re.findall(r"^(?:\$ )?unroll ([a-z]+)", code, flags=re.MULTILINE)) <= commands
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(re.findall(r"^make ([a-z-]+)", code, flags=re.MULTILINE)) <= targets
    settings = {key for kind in TASKS for key in fields.keys(TASKS[kind].settings)}
    settings |= set(fields.keys(SweepConfig, "sweep."))
    groups = "|".join(sorted({key.partition(".")[0] for key in settings if "." in key}))
    for key in re.findall(rf"(?<![\w./])((?:{groups})\.\w+)(?:\.\w+)?=", text):
        assert key in settings, key


@pytest.mark.parametrize("page", EVERYWHERE, ids=[*NAMES, "CHANGELOG.md"])
def test_the_words_are_plain_and_no_machine_is_named(page: Path) -> None:
    text = page.read_text()
    assert not [riddle for riddle in RIDDLES if riddle in " ".join(without_code(text).lower().split())]
    assert not MACHINES.search(text)


@pytest.mark.parametrize("page", EVERYWHERE, ids=[*NAMES, "CHANGELOG.md"])
def test_the_textbook_is_named_where_it_first_stands(page: Path) -> None:
    text = without_code(page.read_text())
    if "textbook" in text:
        assert "Raschka, Liu & Mirjalili" in text[: text.index("textbook") + 400]
