"""Models in use: labelling and writing texts, against the textbook's code (Raschka, Liu & Mirjalili 2022, ch. 15)."""

from __future__ import annotations

import statistics
import tempfile
import time
from functools import partial
from pathlib import Path

from benchmarks.runs import device_of
from benchmarks.table import Bars, Column, Row, Table
from benchmarks.turns import Figures, Way, plain_loops, ratio, take_turns
from unroll.config import ClassificationConfig, LanguageModelingConfig
from unroll.corpora.files import read_texts
from unroll.inference.classify import LoadedClassifier
from unroll.inference.generate import LoadedLanguageModel
from unroll.models.classifier import build_classifier
from unroll.models.language_model import build_language_model
from unroll.tasks.classification_data import ClassificationData
from unroll.tasks.documents import words
from unroll.tasks.language_modeling_data import LanguageModelingData
from unroll.tasks.spec import load_data
from unroll.training.run import quiet

STREAMS = (1, 8, 64)  # texts that are written at once; each way writes as many texts as the last number
MANY = 32  # for each text that is labelled by itself, this many are labelled together


def inference(
    classifier: ClassificationConfig, language_model: LanguageModelingConfig, steps: int, rounds: int
) -> Table:
    """Compare ways to label reviews and ways to write text, with the textbook's models, untrained.

    Args:
        classifier: the config of `experiment=textbook_imdb`.
        language_model: the config of `experiment=textbook_charlm`.
        steps: texts that are labelled one by one in a round; ten times as many characters are written.
        rounds: turns to take the median of.
    """
    quiet()
    rows = [
        *_rows("label", "texts/s", predicting(classifier, steps, rounds)),
        *_rows("write", "characters/s", writing(language_model, 10 * steps, rounds)),
    ]
    columns = {
        "way": Column("way"),
        "per_second": Column("a second", "{:,}"),
        "unit": Column(""),
        "of_textbook": Column("of the textbook's", "{:.1f} ×"),
    }
    device = device_of(classifier)
    caption = f"validation reviews and the novel, the textbook's models, medians of {rounds} rounds, {device.type}"
    if device.type != "cpu":
        caption += "; unroll writes on the CPU"
    bars = Bars("times as fast as the textbook's way", {"of_textbook": "ratio"})
    return Table("inference", caption, columns, rows, bars=(bars,))


def _rows(what: str, unit: str, figures: Figures) -> list[Row]:
    textbook = next(iter(figures))
    return [
        {
            "way": f"{what}: {way}",
            "per_second": round(statistics.median(speeds)),
            "unit": unit,
            "of_textbook": ratio(figures, way, textbook),
        }
        for way, speeds in figures.items()
    ]


def predicting(config: ClassificationConfig, texts: int, rounds: int) -> Figures:
    """Measure texts/s: in plain torch one by one, packed; by this package one by one, as a list, and from a file."""
    data: ClassificationData = load_data(config)
    network = build_classifier(config, len(data.vocabulary), len(data.labels)).to(device_of(config)).eval()
    model = LoadedClassifier(network, data.codec, data.labels, config, {})
    reviews = [words(data.val, row, data.codec) for row in range(len(data.val))]

    def take(count: int, turn: int) -> list[str]:
        return [reviews[(turn * texts + k) % len(reviews)] for k in range(count)]

    def one_by_one(turn: int) -> float:
        chosen, started = take(texts, turn), time.perf_counter()
        for text in chosen:
            model.predict([text])
        return texts / (time.perf_counter() - started)

    def batched(turn: int) -> float:
        chosen, started = take(MANY * texts, turn), time.perf_counter()
        model.predict(chosen)
        return len(chosen) / (time.perf_counter() - started)

    def from_file(folder: str, turn: int) -> float:
        file = Path(folder, "reviews.txt")
        file.write_text("".join(f"{text}\n" for text in take(MANY * texts, turn)), encoding="utf-8")
        started = time.perf_counter()
        with Path(folder, "answers.txt").open("w", encoding="utf-8") as answers:
            for prediction in model.predict_stream(read_texts(file)):
                print(vars(prediction), file=answers)
        return MANY * texts / (time.perf_counter() - started)

    with plain_loops(config) as plain, tempfile.TemporaryDirectory() as folder:
        ways: dict[str, Way] = {
            "the textbook's, one by one, packed": partial(plain, "one_by_one", texts),
            "unroll, one by one": one_by_one,
            "unroll, a list": batched,
            "unroll, from a file": partial(from_file, folder),
        }
        return take_turns(ways, rounds)


def writing(config: LanguageModelingConfig, length: int, rounds: int) -> Figures:
    """Measure characters/s of texts of `length` characters: one text by the textbook's loop, and by this package the
    last number of `STREAMS`, some of them at once."""
    data: LanguageModelingData = load_data(config)
    network = build_language_model(config, len(data.vocabulary)).eval()
    model = LoadedLanguageModel(network, data.codec, data.opening, config, {})

    def write(samples: int, turn: int) -> float:
        texts = max(STREAMS)
        started = time.perf_counter()
        for seed in range(turn * texts, (turn + 1) * texts, samples):
            model.generate("", length=length, seed=seed, samples=samples)
        return texts * length / (time.perf_counter() - started)

    with plain_loops(config) as plain:
        ways = {"the textbook's, one text": partial(plain, "sampler", length)}
        ways |= {f"unroll, {texts} text{'s' * (texts > 1)}": partial(write, texts) for texts in STREAMS}
        return take_turns(ways, rounds)
