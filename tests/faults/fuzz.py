"""Inputs that nobody would write: texts, files and settings made up by hypothesis."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.faults.outcome import Outcome
from unroll.config import ClassificationConfig, LanguageModelingConfig
from unroll.config.fields import keys
from unroll.corpora.files import TextFile, read_rows
from unroll.corpora.texts import read_text
from unroll.diagnostics.explain import explain, judge_text, surprise
from unroll.diagnostics.page import page
from unroll.inference.classify import LoadedClassifier
from unroll.inference.generate import LoadedLanguageModel
from unroll.tasks.spec import from_dict

# Any character but half a surrogate pair, which no file holds.
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)

_PIECES = rb"""text label , " 1 0 good { } "text": "label": null [ ] 1e999 \ud83d ' \N 2024-01-01 nan -1""".split()
PIECES = st.sampled_from(
    [*_PIECES, b"\n", b"\r\n", b"\xff", b"\x00", b"\xef\xbb\xbf", b" ", "é".encode(), "😀".encode()]
)
HEADS = st.sampled_from([b"", b"text,label\n", b"text,label\nsuperb,1\n", b'{"text": "superb", "label": 1}\n'])
FILES = st.tuples(HEADS, st.lists(PIECES, max_size=60).map(b"".join) | st.binary(max_size=300)).map(b"".join)

KEYS = st.sampled_from(sorted({*keys(ClassificationConfig), *keys(LanguageModelingConfig), "no.such", "_target_", ""}))
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["lstm", "imdb", "max"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=4,
)


def trials(fault: str, count: int, strategy: st.SearchStrategy[Any], check: Callable[[Any], Any], seed: int) -> Outcome:
    """Give `check` so many inputs, others for another seed."""
    outcome = Outcome(fault)

    @hypothesis.seed(seed)
    @settings(max_examples=count, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(strategy)
    def run(value: Any) -> None:
        with outcome.trial(repr(value)[:200]):
            check(value)
            outcome.note("taken")

    run()
    return outcome


def texts(
    count: int, classifier: LoadedClassifier, language_model: LoadedLanguageModel, seed: int = 0
) -> list[Outcome]:
    def ask(text: str) -> None:
        assert 0 <= classifier.predict([text])[0].probability <= 1
        assert "<script" not in page("model", explain(judge_text, classifier, [text]))

    def go_on(text: str) -> None:
        assert len(language_model.generate(text, length=2)) == len(text) + 2

    def surprised(text: str) -> None:
        assert "<script" not in page("model", explain(surprise, language_model, [text]))

    return [
        trials("fuzzed reviews", count, TEXTS | st.just("<script>alert(1)</script>"), ask, seed),
        trials("fuzzed prompts", count, TEXTS | st.text("the sandicp", max_size=50), go_on, seed),
        trials("fuzzed texts, explained", count, TEXTS, surprised, seed),
    ]


def files(count: int, folder: Path, seed: int = 0) -> list[Outcome]:
    def check(path: Path, read: Callable[[Path], Any]) -> Callable[[bytes], None]:
        def run(content: bytes) -> None:
            path.write_bytes(content)
            read(path)

        return run

    def rows(path: Path) -> None:
        for row in read_rows(TextFile((path,))):
            row.text.encode()

    return [
        trials("fuzzed csv", count, FILES, check(folder / "fuzzed.csv", rows), seed),
        trials("fuzzed jsonl", count, FILES, check(folder / "fuzzed.jsonl", rows), seed),
        trials("fuzzed parquet", count, FILES, check(folder / "fuzzed.parquet", rows), seed),
        trials("fuzzed novels", count, FILES, check(folder / "fuzzed.txt", read_text), seed),
    ]


def configs(count: int, seed: int = 0) -> Outcome:
    def nest(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key, value in pairs:
            *groups, name = key.split(".")
            group = values
            for part in groups:
                inner = group.setdefault(part, {})
                if not isinstance(inner, dict):
                    break
                group = inner
            else:
                group[name] = value
        return values

    return trials("fuzzed settings", count, st.lists(st.tuples(KEYS, VALUES), max_size=4).map(nest), from_dict, seed)
