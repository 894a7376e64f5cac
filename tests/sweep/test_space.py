"""Hydra's grammar as distributions, each written by hand."""

from __future__ import annotations

from typing import Any

import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from unroll.errors import ConfigError
from unroll.sweep.space import read

TASK = "task=imdb"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("encoder=choice(gru,lstm)", CategoricalDistribution(["gru", "lstm"])),
        ("encoder=gru,lstm", CategoricalDistribution(["gru", "lstm"])),
        ("early_stopping.patience=null,2", CategoricalDistribution(["null", "2"])),
        ("model.pooling=choice([last],[mean,max])", CategoricalDistribution(["[last]", "[mean,max]"])),
        ("data.batch_size=range(1,10,3)", IntDistribution(1, 7, step=3)),
        ("data.batch_size=range(8)", IntDistribution(0, 7)),
        ("data.batch_size=range(5,1,-2)", IntDistribution(3, 5, step=2)),
        ("model.dropout=range(0.1,0.5,0.1)", FloatDistribution(0.1, 0.4, step=0.1)),
        ("model.dropout=interval(0,0.5)", FloatDistribution(0.0, 0.5)),
        ("encoder.hidden_size=int(interval(16,256))", IntDistribution(16, 256)),
        ("encoder.hidden_size=tag(log,int(interval(16,256)))", IntDistribution(16, 256, log=True)),
        ("optimizer.learning_rate=tag(log, interval(1e-4, 1e-1))", FloatDistribution(1e-4, 1e-1, log=True)),
    ],
)
def test_the_grammar(text: str, expected: BaseDistribution) -> None:
    config, space = read([TASK, text, "sweep.dir=a", "sweep.trials=50"])
    assert (config.dir, config.trials, space.fixed) == ("a", 50, (TASK,))
    assert dict(space.swept) == {text.partition("=")[0]: expected}


def test_the_grid_has_every_combination_once() -> None:
    space = read([TASK, "seed=range(0,4,2)", "model.dropout=range(0.1,0.4,0.1)", "encoder=gru,lstm"])[1]
    expected: list[dict[str, Any]] = [
        {"encoder": encoder, "model.dropout": dropout, "seed": seed}
        for encoder in ("gru", "lstm")
        for dropout in (0.1, 0.2, 0.3)
        for seed in (0, 2)
    ]
    assert space.grid() == expected
    assert space.settings(expected[0]) == [TASK, "encoder=gru", "model.dropout=0.1", "seed=0"]


def test_the_order_of_the_settings_does_not_matter() -> None:
    assert list(read(["seed=1,2", "encoder=gru,lstm"])[1].swept) == list(
        read(["encoder=gru,lstm", "seed=1,2"])[1].swept
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["encoder=choice(gru"], "can't read 'encoder=choice"),
        (["seed"], "can't read 'seed'"),
        (["seed=1"], "nothing is swept"),
        (["seed=1,2", "seed=range(3)"], "seed is swept twice"),
        (["seed=range(1,1)"], "holds no value"),
        (["seed=range(1,4,0)"], "holds no value"),
        (["model.dropout=interval(1,0)"], "write another range"),
        (["optimizer.learning_rate=tag(log,interval(0,1))"], "`low > 0` must hold.*write another range"),
        (["optimizer.learning_rate=tag(loq,interval(1,2))"], "there is no tag loq; there is log"),
        (["encoder=tag(log,choice(gru,lstm))"], "log is the tag of an interval"),
        (["encoder=glob(*)"], "name the values"),
        (["task=imdb,mysterious_island"], "one task"),
        (["sweep.trials=1,2"], "can't be swept"),
        (["hydra.verbose=1,2"], "can't be swept"),
        (["seed=1,2", "sweep.trails=3"], "did you mean 'sweep.trials'"),
        (["seed=1,2", "sweep.trials=0"], "must be at least 1"),
        (["seed=1,2", "sweep.sampler=gird"], "did you mean sweep.sampler=grid"),
        (["seed=1,2", "sweep.objective=test/accuracy"], "must be a metric of the validation"),
        (["seed=1,2", "run_dir=a"], "trials have folders of their own"),
        (["seed=1,2", "resume=auto"], "by the same command again"),
        (["seed=1,2", "trainer.devices=2"], "trains in one process"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(settings: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        read(settings)
    assert "\n" not in str(caught.value)


def test_settings_that_do_not_exist_or_are_whole_numbers() -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'encoder\.num_layers'"):
        read([TASK, "encoder.num_leyers=1,2"])[1].first()
    with pytest.raises(ConfigError, match=r"encoder\.hidden_size is a whole number; write int\(interval"):
        read([TASK, "encoder.hidden_size=interval(16,32)"])[1].first()
    with pytest.raises(ConfigError, match=r"sweep\.sampler=grid needs single values"):
        read([TASK, "model.dropout=interval(0,1)"])[1].grid()
    for large in (["seed=int(interval(0,4000000000))"], ["seed=range(0,1000)", "data.batch_size=range(1,1000)"]):
        with pytest.raises(ConfigError, match=r"sweep\.sampler=grid: there are more than 100,000 combinations"):
            read([TASK, *large])[1].grid()
