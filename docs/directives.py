"""Parts of pages that are made from the source, so that they can't fall behind it."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import os
import re
import subprocess
import sys
import textwrap
import types
import typing
from collections.abc import Iterator
from importlib import import_module
from itertools import pairwise
from typing import Any

from docutils import nodes
from lightning.pytorch import Trainer
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from unroll.config import TrainerConfig
from unroll.config.fields import BELOW_1
from unroll.config.sweep import SweepConfig
from unroll.registry import Registry
from unroll.tasks.spec import TASKS

_COMMENT = re.compile(r"    (\w+): .*?  # (.*)")
_NAMED = re.compile(r"    (\w+): ")
_TYPES = {
    int: "whole number",
    float: "number",
    bool: "`true` or `false`",
    str: "text",
    list[str]: "list of names",
    list[int]: "list of whole numbers",
    dict[str, Any]: "names and values",
}


class Settings(SphinxDirective):
    """`{settings}`: a section for each group of settings, with a table of all that it holds."""

    def run(self) -> list[nodes.Node]:
        kinds = {kind: TASKS[kind].settings() for kind in ("classification", "language_modeling", "pretraining")}
        sections = [self._section("Settings of a run", kinds)]
        groups: dict[str, dict[type, dict[str, Any]]] = {}  # by name and type, the group of each kind
        for kind, config in kinds.items():
            for name, group in _groups(config):
                groups.setdefault(name, {}).setdefault(type(group), {})[kind] = group
        for name, types_ in groups.items():
            for of_kinds in types_.values():
                which = "" if len(of_kinds) == len(kinds) else f", {' and '.join(of_kinds).replace('_', ' ')}"
                sections.append(self._section(f"{name}{which}", of_kinds, f"{name}."))
        return [*sections, self._section("sweep", {"sweep": SweepConfig()}, "sweep.")]

    def _section(self, title: str, groups: dict[str, Any], prefix: str = "") -> nodes.section:
        group = next(iter(groups.values()))
        section = nodes.section(ids=[nodes.make_id(f"settings {title}")], names=[title])
        section += nodes.title(title, title)
        about = (inspect.getdoc(type(group)) or "") if prefix else ""
        head = ("| Setting | Default | Values | Meaning |", "|---|---|---|---|")
        table = "\n".join([*head, *_rows(groups, prefix)])
        section += self.parse_text_to_nodes(f"{about}\n\n{table}")
        return section


class Usage(SphinxDirective):
    """`{usage} COMMAND`: what `unroll COMMAND --help` prints."""

    required_arguments, final_argument_whitespace = 1, True

    def run(self) -> list[nodes.Node]:
        command = [sys.executable, "-m", "unroll", *self.arguments[0].split(), "--help"]
        environment = os.environ | {"COLUMNS": "100", "NO_COLOR": "1"}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        if done.returncode:
            raise self.error(f"{' '.join(command)}: {done.stderr}")
        block = nodes.literal_block(done.stdout, done.stdout.strip())
        block["language"] = "text"
        return [block]


class Public(SphinxDirective):
    """`{public} MODULE`: the docstrings of all that `MODULE.__all__` names."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        (name,) = self.arguments
        module = import_module(name)
        lines = []
        for each in module.__all__:
            found = getattr(module, each)
            if inspect.isclass(found) or inspect.isfunction(found):
                kind = "class" if inspect.isclass(found) else "function"
                lines.append(f".. auto{kind}:: {name}.{each}\n")
        text = "```{eval-rst}\n" + "\n".join(lines) + "```\n"
        return self.parse_text_to_nodes(text)


def _groups(config: Any) -> Iterator[tuple[str, Any]]:
    for field in dataclasses.fields(config):
        if dataclasses.is_dataclass(value := getattr(config, field.name)):
            yield field.name, value


def _rows(groups: dict[str, Any], prefix: str) -> Iterator[str]:
    """Yield each setting's row of the table, of groups that are alike in all but their defaults."""
    group = next(iter(groups.values()))
    hints, meanings = typing.get_type_hints(type(group)), comments(type(group))
    for field in dataclasses.fields(group):
        if dataclasses.is_dataclass(getattr(group, field.name)):
            continue
        defaults = {kind.replace("_", " "): _written(getattr(each, field.name)) for kind, each in groups.items()}
        default = next(iter(defaults.values()))
        default += "".join(f"; {kind}: {other}" for kind, other in defaults.items() if other != default)
        values = _values(hints[field.name], field.metadata)
        if field.name not in meanings:
            logging.getLogger(__name__).warning("%s%s has no comment; write one behind its field", prefix, field.name)
        meaning = meanings.get(field.name, "").replace("<", r"\<")
        cells = (f"`{prefix}{field.name}`", default, values, meaning)
        yield f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def comments(cls: type) -> dict[str, str]:
    """Return what the source of a dataclass says of each field, behind it or below it."""
    found: dict[str, str] = {}
    for each in reversed(cls.__mro__):
        if not dataclasses.is_dataclass(each):
            continue
        source = inspect.getsource(each)
        found |= {match[1]: match[2] for line in source.splitlines() if (match := _COMMENT.fullmatch(line))}
        body = typing.cast(ast.ClassDef, ast.parse(textwrap.dedent(source)).body[0]).body
        for field, below in pairwise(body):
            if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr) and isinstance(field.target, ast.Name):
                found[field.target.id] = " ".join(ast.literal_eval(below.value).split())
    return _of_lightning() | found if cls is TrainerConfig else found


def _of_lightning() -> dict[str, str]:
    """Return the first sentence that Lightning says of each argument of its Trainer."""
    arguments = re.findall(
        r"^    (\w+): (.*?)(?:\.\s|\n\n)", inspect.getdoc(Trainer.__init__) or "", re.DOTALL | re.MULTILINE
    )
    return {name: " ".join(sentence.split()).replace("``", "`") for name, sentence in arguments}


def _values(hint: Any, metadata: Any) -> str:
    """Say which values a setting takes."""
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    optional = " or `null`" if types.NoneType in kinds else ""
    low, high, choices = (metadata.get(name) for name in ("low", "high", "choices"))
    if choices:
        names = ", ".join(f"`{name}`" for name in choices)
        return names + optional + (", or a registered one" if isinstance(choices, Registry) else "")
    scalars = [kind for kind in kinds if kind is not types.NoneType]
    text = " or ".join(_TYPES[kind] for kind in scalars)
    if low is not None and high is not None:
        text += f", {low:g} to " + ("below 1" if high == BELOW_1 else f"{high:,.10g}")
    elif low is not None:
        text += f", at least {low:g}"
    return text + optional


def _written(value: Any) -> str:
    """A value as it is written in a setting."""
    if value is None or isinstance(value, bool):
        return f"`{str(value).lower().replace('none', 'null')}`"
    if isinstance(value, list):
        return f"`[{','.join(map(str, value))}]`"
    return f"`{value}`" if value != {} else "`{}`"


def as_rst(app: Sphinx, what: str, name: str, found: Any, options: Any, lines: list[str]) -> None:
    """Make of a docstring what napoleon and RST understand: an indented block is an example, and a function may return
    several things, each with a name."""
    for place in range(len(lines) - 1, 1, -1):
        if lines[place].startswith("    ") and not lines[place - 1] and re.match(r"[^ *-]", lines[place - 2]):
            lines[place:place] = ["::", ""]
    if "Returns:" not in lines:
        return
    first = lines.index("Returns:") + 1
    end = next((place for place in range(first, len(lines)) if not lines[place].startswith(" ")), len(lines))
    if sum(bool(_NAMED.match(line)) for line in lines[first:end]) > 1:
        items = [
            _NAMED.sub(r"    - **\1**: ", line) if _NAMED.match(line) else f"      {line.strip()}"
            for line in lines[first:end]
        ]
        lines[first:end] = ["    A tuple of", "", *items]  # of the first line napoleon takes what precedes a colon


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("settings", Settings)
    app.add_directive("usage", Usage)
    app.add_directive("public", Public)
    app.connect("autodoc-process-docstring", as_rst, priority=400)  # before napoleon
    return {"parallel_read_safe": True}
