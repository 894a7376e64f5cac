"""A loaded classifier against labelled data: a file of the user's, or a split of the corpus it was trained on."""

from __future__ import annotations

from pathlib import Path

from unroll.corpora.files import Row, TextFile, read_rows
from unroll.corpora.imdb import find_corpus
from unroll.errors import DataError
from unroll.inference.classify import LoadedClassifier


def evaluate(model: LoadedClassifier, path: Path | None, split: str) -> dict[str, float]:
    """Return the figures on a table, on the test table of a folder, or on a split of the model's own corpus.

    Args:
        model: a loaded classifier.
        path: a table, or a folder with a table test.*; None is the corpus of the model's settings, split as it was
            split for training.
        split: "val" or "test".

    Raises:
        DataError: the data can't be had, has labels that the model does not know, or is not the model's corpus.
    """
    from unroll.tasks.data import ClassificationData, label_ids

    if path is not None:
        file = _table(path, split)
        rows: list[Row] = list(read_rows(file))
        labels = label_ids([row.label for row in rows], model.labels, file.path)
        return model.evaluate((row.text for row in rows), labels.tolist())
    data = ClassificationData(model.config.data, model.config.seed)
    if data.fingerprint != model.data["fingerprint"] or data.vocabulary != model.vocabulary:
        raise DataError(
            f"the {data.source} corpus ({data.origin}) is not the one that the model was trained on "
            f"({model.data['origin']}); name the data with --data PATH"
        )
    return model.evaluate_documents(data.val if split == "val" else data.test)


def _table(path: Path, split: str) -> TextFile:
    if not path.is_dir():
        return TextFile(path)
    if split != "test":
        raise DataError(f"{path}: a folder gives --split test; name the table of another split itself")
    corpus = find_corpus("local", path, path)
    if corpus.test is None:
        raise DataError(f"{path}: no test.* table in this folder; name a table itself")
    return corpus.test
