"""A loaded model against data: a file of the user's, or a part of the corpus it was trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from unroll.corpora.files import Row, TextFile, read_rows
from unroll.corpora.imdb import find_corpus
from unroll.corpora.novel import read_text
from unroll.errors import ConfigError, DataError
from unroll.inference.classify import LoadedClassifier
from unroll.inference.generate import LoadedLanguageModel
from unroll.inference.load import check_folder, load
from unroll.inference.score import gradient_rms, score, score_dynamically
from unroll.text import characters


def evaluate(model: LoadedClassifier | LoadedLanguageModel, path: Path | None, split: str) -> dict[str, float]:
    """Return the figures of a model on a file, or on a part of the model's own corpus.

    Args:
        model: as `load` returns it.
        path: for a classifier a table, or a folder with a table test.*; for a language model a text. None is the
            corpus of the model's settings, split as it was split for training.
        split: "val" or "test".

    Raises:
        DataError: the data can't be had, do not fit the model, or are not the model's corpus.
    """
    if isinstance(model, LoadedLanguageModel):
        return score(model.model, _text(model, path, split))
    return _evaluate_classifier(model, path, split)


def evaluate_dynamically(checkpoint: Path, path: Path | None, split: str) -> dict[str, float]:
    """Return the figures of a checkpoint's language model that learns from the text as it goes, see `score_dynamically`
    and, for the other arguments, `evaluate`.

    Raises:
        CheckpointError: the checkpoint can't be used, or holds no gradient statistics.
        ConfigError: it is a classifier's.
        DataError: as in `evaluate`.
    """
    model = load(checkpoint)
    if isinstance(model, LoadedClassifier):
        raise ConfigError(f"{checkpoint}: is a classifier; --dynamic is for language models")
    rms = gradient_rms(checkpoint, model.model, model.config.optimizer)
    return score_dynamically(model.model, _text(model, path, split), rms)


def _text(model: LoadedLanguageModel, path: Path | None, split: str) -> Any:
    """The ids of a file's characters, or of a part of the model's own text."""
    if path is not None:
        text, _ = read_text(path)
        if len(text) < 2:
            raise DataError(f"{path}: holds one character; a language model predicts from the second on")
        return characters.encode(text, model.vocabulary)
    from unroll.tasks.novel_data import NovelData

    check_folder(model.config.data.folder, "name the data with --data PATH")
    data = NovelData(model.config.data, model.config.tbptt, model.config.seed)
    _check_corpus(data, model)
    return data.val if split == "val" else data.test


def _evaluate_classifier(model: LoadedClassifier, path: Path | None, split: str) -> dict[str, float]:
    from unroll.tasks.data import ClassificationData, label_ids

    if path is not None:
        file = _table(path, split)
        rows: list[Row] = list(read_rows(file))
        labels = label_ids([row.label for row in rows], model.labels, file.path)
        return model.evaluate((row.text for row in rows), labels.tolist())
    check_folder(model.config.data.folder, "name the data with --data PATH")
    data = ClassificationData(model.config.data, model.config.seed)
    _check_corpus(data, model)
    return model.evaluate_documents(data.val if split == "val" else data.test)


def _check_corpus(data: Any, model: LoadedClassifier | LoadedLanguageModel) -> None:
    if data.fingerprint != model.data["fingerprint"] or data.vocabulary != model.vocabulary:
        raise DataError(
            f"the {data.source} corpus ({data.origin}) is not the one that the model was trained on "
            f"({model.data['origin']}); name the data with --data PATH"
        )


def _table(path: Path, split: str) -> TextFile:
    if not path.is_dir():
        return TextFile(path)
    if split != "test":
        raise DataError(f"{path}: a folder gives --split test; name the table of another split itself")
    corpus = find_corpus("local", path, path)
    if corpus.test is None:
        raise DataError(f"{path}: no test.* table in this folder; name a table itself")
    return corpus.test
