"""The settings: every file composes into a valid config, every mistake is named in one line."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from unroll.compose import compose
from unroll.config import ClassificationConfig, LanguageModelingConfig, PretrainingConfig, to_dict
from unroll.config.legacy import translate
from unroll.errors import ConfigError
from unroll.models.classifier import build_classifier
from unroll.models.language_model import build_language_model
from unroll.models.pretraining import build_document_language_model
from unroll.tasks.spec import from_dict, unknown_key

CONF = Path(__file__).resolve().parent.parent / "conf"


def composed(*overrides: str) -> Any:
    return compose(overrides)


def config_files() -> list[str]:
    return [
        f"{path.parent.name}={path.stem}"
        for group in ("task", "encoder", "experiment")
        for path in sorted((CONF / group).glob("*.yaml"))
    ]


def built(config: Any) -> Any:
    if isinstance(config, ClassificationConfig):
        return build_classifier(config, vocabulary_size=10, num_classes=3)
    if isinstance(config, PretrainingConfig):
        return build_document_language_model(config, vocabulary_size=10)
    return build_language_model(config, vocabulary_size=10)


@pytest.mark.parametrize("choice", config_files())
def test_every_config_file_composes_and_builds_a_model(choice: str) -> None:
    config = composed(choice)
    encoder, directions = built(config).encoder, 1 + config.encoder.bidirectional
    assert getattr(encoder, "cell", "min_gru") == config.encoder.cell
    assert encoder.output_size == directions * config.encoder.hidden_size
    assert encoder.num_directions == directions
    assert from_dict(to_dict(config)) == config


def test_the_textbooks_language_model_has_the_textbooks_sizes() -> None:
    config = composed("experiment=textbook_charlm")
    assert isinstance(config, LanguageModelingConfig)
    assert (config.model.embedding_size, config.encoder.cell, config.encoder.hidden_size) == (256, "lstm", 512)
    assert (config.tbptt.window, config.tbptt.stride, config.data.batch_size) == (40, None, 64)
    assert (config.trainer.max_steps, config.trainer.max_epochs) == (10_000, None)
    optimizer = config.optimizer
    assert (optimizer.name, optimizer.learning_rate, optimizer.schedule) == ("adam", 5e-3, "constant")
    parameters = sum(p.numel() for p in build_language_model(config, 82).parameters())
    assert parameters == 82 * 256 + 4 * 512 * (256 + 512 + 2) + 82 * 513


def test_the_textbooks_model_has_the_textbooks_sizes() -> None:
    config = composed("experiment=textbook_imdb")
    assert isinstance(config, ClassificationConfig)
    assert (config.model.embedding_size, config.encoder.cell, config.encoder.hidden_size) == (20, "lstm", 64)
    assert (config.encoder.bidirectional, config.encoder.num_layers, config.model.pooling) == (False, 1, ["last"])
    assert (config.model.head_size, config.data.batch_size, config.trainer.max_epochs) == (64, 32, 10)
    assert (config.optimizer.name, config.optimizer.learning_rate, config.optimizer.schedule) == (
        "adam",
        1e-3,
        "constant",
    )
    # What the preset adds for the default recipe is not the textbook's.
    assert (config.model.dropout, config.model.word_dropout, config.model.embedding_dropout) == (0, 0, 0)
    assert config.optimizer.ema_decay is None
    # Embedding 20 x V, LSTM 4 x 64 x (20 + 64 + 2), hidden 64 x 65, output 2 x 65.
    parameters = sum(p.numel() for p in build_classifier(config, 1000, 2).parameters())
    assert parameters == 20 * 1000 + 4 * 64 * (20 + 64 + 2) + 64 * 65 + 2 * 65


def test_an_experiment_gives_way_to_the_command_line() -> None:
    assert composed("experiment=textbook_imdb", "data.batch_size=7").data.batch_size == 7


NOVEL = "language_modeling"
SHARED: Any = []  # as text it would have 2^40 entries
for _ in range(40):
    SHARED = [SHARED, SHARED]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"encoder": {"hiden_size": 3}},
            "there is no setting 'encoder.hiden_size'; did you mean 'encoder.hidden_size'?",
        ),
        ({"encoder": {"hidden_size": -3}}, "encoder.hidden_size=-3: must be at least 1"),
        ({"encoder": {"hidden_size": 1.5}}, "encoder.hidden_size=1.5: must be a whole number"),
        ({"encoder": {"hidden_size": True}}, "encoder.hidden_size=true: must be a whole number"),
        ({"encoder": {"hidden_size": None}}, "encoder.hidden_size=null: must be a whole number"),
        ({"encoder": {"cell": "lsmt"}}, "did you mean encoder.cell=lstm?"),
        ({"encoder": {"dropout": 1.0, "num_layers": 2}}, "encoder.dropout=1.0: must be below 1"),
        ({"encoder": {"dropout": 0.5, "num_layers": 1}}, "write encoder.num_layers=2"),
        ({"encoder": {"locked_dropout": True, "num_layers": 2}}, "has nothing to drop; write encoder.dropout=0.3"),
        ({"encoder": {"weight_dropout": 1}}, "encoder.weight_dropout=1.0: must be below 1"),
        ({"optimizer": {"ema_decay": 0.9, "average_after": 3}}, "two averages of the weights; write null for one"),
        ({"encoder": {"hidden_size": 1e3}}, "must be a whole number; write encoder.hidden_size=1000"),
        ({"encoder": {"hidden_size": "128"}}, "; write encoder.hidden_size=128 without quotes"),
        ({"encoder": {"hidden_size": None}}, "; write encoder.hidden_size=64"),
        ({"encoder": {"hidden_size": math.nan}}, "encoder.hidden_size=nan: must be a whole number"),
        ({"encoder": {"hidden_size": 10**5000}}, "encoder.hidden_size=a number of 16610 bits: must be at most 65536"),
        ({"encoder": {"hidden_size": [10**5000]}}, "encoder.hidden_size=a list: must be a whole number"),
        ({"encoder": {"hidden_size": SHARED}}, "[...], [...]"),
        ({"encoder": {"bidirectional": "yes"}}, "must be true or false; write encoder.bidirectional=true"),
        ({"encoder": {"bidirectional": 0}}, "must be true or false; write encoder.bidirectional=false"),
        ({"encoder": {"bidirectional": None}}, "; write encoder.bidirectional=true"),
        ({"trainer": {"max_epochs": 3.0}}, "must be a whole number or null; write trainer.max_epochs=3"),
        ({"optimizer": {"learning_rate": "1e-3"}}, "must be a number; write optimizer.learning_rate=0.001"),
        ({"optimizer": {"learning_rate": 10**5000}}, "a number of 16610 bits: must be a number"),
        ({"model": {"pooling": "last"}}, "must be a list of names; write model.pooling=[last]"),
        ({"model": {"pooling": None}}, "; write model.pooling=[max,mean]"),
        ({"model": {"pooling": ["x" * 10**6]}}, f"model.pooling={'x' * 80}: must be one of"),
        ({"data": {"labels": "good"}}, "must be a list of names or null; write data.labels=[good]"),
        ({"data": {"path": "a\0b"}}, "data.path holds a NUL character"),
        ({"data": {"text_column": 10**5000}}, "must be text"),
        ({"x" * 10**6: 1}, f"there is no setting '{'x' * 80}'"),
        ({"data": "reviews.csv"}, "not reviews.csv; set one of them, as in data.path=…"),
        ({"encoder": 3}, "encoder must be a group of settings, not 3; set one of them, as in encoder.cell=…"),
        ({"tbptt": {"window": 0}}, "tbptt.window=0: must be at least 1"),
        ({"tbptt": {"window": 50}, "encoder": {"bidirectional": True}}, "needs encoder.bidirectional=false"),
        ({"model": {"pooling": []}}, "write one or more of last, mean, max"),
        ({"model": {"pooling": ["maximum"]}}, "model.pooling=maximum: must be one of last, mean, max"),
        ({"data": {"batch_size": 0}}, "data.batch_size=0: must be at least 1"),
        ({"data": {"max_tokens": 100}}, "give either data.batch_size (documents) or data.max_tokens"),
        ({"data": {"token_budget": 100}}, "there is no setting 'data.token_budget'; did you mean 'data.max_tokens'?"),
        ({"data": {"keep": "end"}}, "there is no setting 'data.keep'; did you mean 'data.truncate'?"),
        ({"data": {"bucket_noise": 0.1}}, "did you mean 'data.padding_noise'?"),
        ({"optimizer": {"warmup": 0.1}}, "did you mean 'optimizer.warmup_fraction'?"),
        ({"encoder": {"options": 3}}, "encoder.options=3: must be a group of settings"),
        ({"trainer": {"max_time": "banana"}}, "trainer.max_time=banana: must be days:hours:minutes:seconds"),
        ({"trainer": {"max_steps": 0}}, "trainer.max_steps=0 leaves nothing to train"),
        ({"trainer": {"val_check_interval": 1.5}}, "trainer.val_check_interval=1.5: must be a share of at most 1.0"),
        ({"trainer": {"limit_train_batches": 0}}, "trainer.limit_train_batches=0 leaves nothing to train on"),
        ({"trainer": {"limit_train_batches": 0.0}}, "trainer.limit_train_batches=0 leaves nothing to train on"),
        ({"task": "../up"}, "a name is up to 64 letters"),
        ({"data": {"val_fraction": float("nan")}}, "data.val_fraction=nan: must be at least"),
        ({"data": {"source": "hub", "path": "x.csv"}}, "drop one of them"),
        ({"optimizer": {"name": "adam", "weight_decay": 0.1}}, "write optimizer.name=adamw"),
        ({"trainer": {"max_epochs": None}}, "the run has no end"),
        ({"trainer": {"max_epochs": None, "max_time": "00:00:01:00"}}, "write optimizer.schedule=constant"),
        ({"trainer": {"precision": "16"}}, "trainer.precision=16: must be one of"),
        ({"seed": -1}, "seed=-1: must be at least 0"),
        ({"kind": "clasification"}, "did you mean kind=classification?"),
        ({"kind": NOVEL, "tbptt": {"window": 0}}, "tbptt.window=0: must be at least 1"),
        ({"kind": NOVEL, "tbptt": {"window": None}}, "tbptt.window=null: must be a whole number"),
        ({"kind": NOVEL, "tbptt": {"window": 8, "stride": 9}}, "tbptt.stride=9 goes beyond tbptt.window=8"),
        ({"kind": NOVEL, "tbptt": {"window": 8, "stride": 4, "random_window": True}}, "write tbptt.stride=null"),
        ({"kind": NOVEL, "encoder": {"bidirectional": True}}, "encoder.bidirectional=false"),
        ({"kind": NOVEL, "encoder": {"hidden_size": 7}, "model": {"tie_weights": True}}, "model.embedding_size=7"),
        ({"kind": NOVEL, "model": {"cutoffs": 9}}, "must be a list of whole numbers; write model.cutoffs=[9]"),
        ({"kind": NOVEL, "model": {"cutoffs": [9, 20.5]}}, "model.cutoffs=[9, 20.5]: must be a list of whole numbers"),
        ({"kind": NOVEL, "model": {"cutoffs": [True]}}, "model.cutoffs=[True]: must be a list of whole numbers"),
        ({"kind": NOVEL, "model": {"cutoffs": ["9"]}}, "model.cutoffs=[9]: must be a list of whole numbers"),
        ({"kind": NOVEL, "model": {"cutoffs": None}}, "; write model.cutoffs=[]"),
        ({"kind": NOVEL, "model": {"cutoffs": [0, 9]}}, "model.cutoffs=0: must be at least 1"),
        ({"kind": NOVEL, "model": {"cutoffs": [20, 9]}}, "model.cutoffs=[20, 9]: must increase"),
        ({"kind": NOVEL, "model": {"cutoffs": [9, 9]}}, "model.cutoffs=[9, 9]: must increase"),
        ({"kind": NOVEL, "model": {"cutoffs": [10**5000, 9]}}, "model.cutoffs="),
        (
            {
                "kind": NOVEL,
                "encoder": {"hidden_size": 7},
                "model": {"embedding_size": 7, "tie_weights": True, "cutoffs": [9]},
            },
            "model.tie_weights=true needs the full softmax; write model.cutoffs=[]",
        ),
        ({"kind": NOVEL, "model": {"cutoffs": [9]}, "data": {"tokenizer": "bytes"}}, "write model.cutoffs=[]"),
        (
            {"kind": NOVEL, "model": {"cutoffs": [9, 20]}, "encoder": {"hidden_size": 15}},
            "write encoder.hidden_size=16 or more, or fewer cutoffs",
        ),
        ({"optimizer": {"name": "sgd", "embedding": "rows"}}, "optimizer.name=adamw"),
        (
            {"kind": NOVEL, "optimizer": {"embedding": "rows"}, "model": {"embedding_size": None}},
            "model.embedding_size",
        ),
        (
            {
                "kind": NOVEL,
                "encoder": {"hidden_size": 7},
                "optimizer": {"embedding": "rows"},
                "model": {"embedding_size": 7, "tie_weights": True},
            },
            "model.tie_weights=false",
        ),
        ({"kind": NOVEL, "data": {"batch_size": 0}}, "data.batch_size=0: must be at least 1"),
        ({"kind": NOVEL, "data": {"source": "hub"}}, "data.source=hub: must be one of auto, local, download, embedded"),
        ({"kind": NOVEL, "data": {"source": "embedded", "path": "x.txt"}}, "drop one of them"),
        ({"kind": NOVEL, "model": {"pooling": ["max"]}}, "there is no setting 'model.pooling'"),
    ],
)
def test_a_wrong_setting_is_one_line_that_says_what_to_write(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_dict(values)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300
    assert caught.value.exit_code == 2


def test_values_that_are_fine_are_taken_as_they_are() -> None:
    config = from_dict({"optimizer": {"learning_rate": 1}, "model": {"pooling": ("last", "mean")}})
    assert config.optimizer.learning_rate == 1.0
    assert config.model.pooling == ["last", "mean"]
    novel = composed("task=language_modeling", "model.cutoffs=[9,20]")
    assert novel.model.cutoffs == from_dict({"kind": NOVEL, "model": {"cutoffs": (9, 20)}}).model.cutoffs == [9, 20]


def test_a_setting_of_the_other_task_is_named_as_such() -> None:
    assert "'model.pooling' is a setting of classification alone" in str(unknown_key("model.pooling"))
    assert "'tbptt.stride' is a setting of language_modeling alone" in str(unknown_key("tbptt.stride"))


def test_a_key_like_nothing_else_points_to_the_list() -> None:
    assert "--cfg job" in str(unknown_key("zzzzzzzzzz"))


def test_the_defaults_stand_in_one_place() -> None:
    assert composed("task=classification") == ClassificationConfig()
    assert composed("task=language_modeling") == LanguageModelingConfig()


def test_settings_of_format_2_are_todays_settings() -> None:
    old = {
        "task": "imdb",
        "data": {"max_tokens": 400, "keep": "end", "token_budget": None, "bucket_noise": 0.2, "min_freq": 5},
        "optimizer": {"warmup": 0.25},
    }
    config = from_dict(translate(old))
    assert (config.kind, config.data.max_length, config.data.truncate) == ("classification", 400, "start")
    assert (config.data.max_tokens, config.data.padding_noise, config.optimizer.warmup_fraction) == (None, 0.2, 0.25)
    assert (config.data.hub, config.data.labels) == (composed("task=imdb").data.hub, ["negative", "positive"])
    novel = from_dict(translate({"task": "mysterious_island", "optimizer": {"warmup": 0.1}}))
    assert (novel.kind, novel.data.gutenberg) == ("language_modeling", 1268)
