"""Models in use: labelling and writing texts, against plain torch: the textbook's code (Raschka, Liu & Mirjalili 2022,
ch. 15), and the default classifier in torch's modules."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
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
ENGINES = (("torch", "torch", False), ("onnxruntime", "onnx", False), ("onnxruntime, 8 bits", "onnx", True))
MANY = 32  # for each text that is labelled by itself, this many are labelled together


def inference(
    classifier: ClassificationConfig, language_model: LanguageModelingConfig, steps: int, rounds: int
) -> Table:
    """Compare ways to label reviews and ways to write text, with the textbook's models and the default classifier,
    untrained. Ways with onnxruntime compute on the CPU.

    Args:
        classifier: the config of `experiment=textbook_imdb`.
        language_model: the config of `experiment=textbook_charlm`.
        steps: texts that are labelled one by one in a round; ten times as many characters are written.
        rounds: turns to take the median of.
    """
    quiet()
    rows = [
        *_rows("label", "texts/s", predicting(classifier, steps, rounds)),
        *_rows("label, default model", "texts/s", predicting_by_default(classifier, steps, rounds)),
        *_rows("write", "characters/s", writing(language_model, 10 * steps, rounds)),
    ]
    columns = {
        "way": Column("way"),
        "per_second": Column("a second", "{:,}"),
        "unit": Column(""),
        "of_textbook": Column("of plain torch's", "{:.1f} ×"),
    }
    device = device_of(classifier)
    caption = f"validation reviews and the novel, the textbook's models, medians of {rounds} rounds, {device.type}"
    if device.type != "cpu":
        caption += "; unroll writes on the CPU"
    bars = Bars("times as fast as plain torch", {"of_textbook": "ratio"})
    return Table("inference", caption, columns, rows, bars=(bars,))


def _rows(what: str, unit: str, figures: Figures) -> list[Row]:
    plain = next(iter(figures))
    return [
        {
            "way": f"{what}: {way}",
            "per_second": round(statistics.median(speeds)),
            "unit": unit,
            "of_textbook": ratio(figures, way, plain),
        }
        for way, speeds in figures.items()
    ]


def predicting(config: ClassificationConfig, texts: int, rounds: int) -> Figures:
    """Measure texts/s: in plain torch one by one, packed; by this package, with each engine, one by one, as a list, and
    from a file."""
    models, reviews = _models(config)

    def take(count: int, turn: int) -> list[str]:
        return [reviews[(turn * texts + k) % len(reviews)] for k in range(count)]

    def batched(model: LoadedClassifier, turn: int) -> float:
        chosen, started = take(MANY * texts, turn), time.perf_counter()
        model.predict(chosen)
        return len(chosen) / (time.perf_counter() - started)

    def from_file(model: LoadedClassifier, folder: str, turn: int) -> float:
        file = Path(folder, "reviews.txt")
        file.write_text("".join(f"{text}\n" for text in take(MANY * texts, turn)), encoding="utf-8")
        started = time.perf_counter()
        with Path(folder, "answers.txt").open("w", encoding="utf-8") as answers:
            for prediction in model.predict_stream(read_texts(file)):
                print(vars(prediction), file=answers)
        return MANY * texts / (time.perf_counter() - started)

    with plain_loops(config) as plain, tempfile.TemporaryDirectory() as folder:
        ways: dict[str, Way] = {"the textbook's, one by one, packed": partial(plain, "one_by_one", texts)}
        for engine, model in models.items():
            ways |= {
                f"unroll, one by one, {engine}": partial(_one_by_one, model, reviews, texts),
                f"unroll, a list, {engine}": partial(batched, model),
                f"unroll, from a file, {engine}": partial(from_file, model, folder),
            }
        return take_turns(ways, rounds)


def predicting_by_default(config: ClassificationConfig, texts: int, rounds: int) -> Figures:
    """Measure texts/s one by one with the default model, which has two directions: in plain torch, and by this package
    with each engine."""
    default = ClassificationConfig()
    models, reviews = _models(replace(config, encoder=default.encoder, model=default.model))
    with plain_loops(config) as plain:
        ways: dict[str, Way] = {"plain torch, one by one": partial(plain, "default_one_by_one", texts)}
        for engine, model in models.items():
            ways[f"unroll, one by one, {engine}"] = partial(_one_by_one, model, reviews, texts)
        return take_turns(ways, rounds)


def _models(config: ClassificationConfig) -> tuple[dict[str, LoadedClassifier], list[str]]:
    """Return an untrained model by each engine, and the validation reviews."""
    data: ClassificationData = load_data(config)
    network = build_classifier(config, len(data.vocabulary), len(data.labels)).to(device_of(config)).eval()
    models = {
        name: LoadedClassifier(network, data.codec, data.labels, config, {}, engine, int8)
        for name, engine, int8 in ENGINES
    }
    return models, [words(data.val, row, data.codec) for row in range(len(data.val))]


def _one_by_one(model: LoadedClassifier, reviews: Sequence[str], texts: int, turn: int) -> float:
    chosen = [reviews[(turn * texts + k) % len(reviews)] for k in range(texts)]
    started = time.perf_counter()
    for text in chosen:
        model.predict([text])
    return texts / (time.perf_counter() - started)


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
