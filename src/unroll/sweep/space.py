"""The search space: Hydra's sweep grammar as Optuna's distributions."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep, Sweep, ValueType
from hydra.errors import HydraException
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import Trial

from unroll.compose import as_config_error, composed
from unroll.config import fields
from unroll.config.sweep import SweepConfig
from unroll.errors import ConfigError

LARGEST_GRID = 100_000  # combinations of values
_OWN = "sweep."
# Settings that a trial has of the sweep, and why they can't be given.
_TAKEN = {
    "run_dir": "trials have folders of their own in sweep.dir",
    "resume": "trials are resumed by the same command again",
    "trainer.devices": "a trial trains in one process; run the command once for each device",
    "trainer.num_nodes": "a trial trains in one process; run the command on each machine",
}


@dataclass(frozen=True)
class Space:
    """Settings that all trials share, each "key=value", and distributions of the others by key.

    >>> config, space = read(["task=imdb", "encoder=choice(gru,lstm)", "optimizer.learning_rate=interval(1e-4,1e-1)"])
    >>> space.fixed, list(space.swept)
    (('task=imdb',), ['encoder', 'optimizer.learning_rate'])
    """

    fixed: tuple[str, ...]
    swept: Mapping[str, BaseDistribution]

    def settings(self, values: Mapping[str, Any]) -> list[str]:
        """Return all settings of a trial as they are typed."""
        return [*self.fixed, *(f"{key}={value}" for key, value in values.items())]

    def first(self, config_dir: Path | None = None) -> Any:
        """Return the config of the first value of each key, as Hydra has it.

        Raises:
            ConfigError: a setting does not exist, or can't have such values.
        """
        first: dict[str, Any] = {}
        for key, distribution in self.swept.items():
            if isinstance(distribution, CategoricalDistribution):
                first[key] = distribution.choices[0]
            elif isinstance(distribution, IntDistribution | FloatDistribution):
                first[key] = distribution.low
        try:
            return composed(self.settings(first), config_dir)
        except ConfigError as error:
            for key, value in first.items():
                if isinstance(value, float) and str(error).startswith(f"{key}={value}: must be a whole number"):
                    raise ConfigError(f"{key} is a whole number; write int(interval(low,high)) or choice(…)") from error
            raise

    def grid(self) -> list[dict[str, Any]]:
        """Return every combination of values. Raises ConfigError where there are more than `LARGEST_GRID`."""
        values = [_values(key, each) for key, each in self.swept.items()]
        if math.prod(map(len, values)) > LARGEST_GRID:
            raise ConfigError(
                f"sweep.sampler=grid: there are more than {LARGEST_GRID:,} combinations of values; write fewer, or "
                "sweep.sampler=random"
            )
        return [dict(zip(self.swept, each, strict=True)) for each in itertools.product(*values)]


def read(settings: Sequence[str]) -> tuple[SweepConfig, Space]:
    """Return the settings of the sweep and the space of those of its runs, each given as it is typed.

    `choice(a,b)`, or `a,b` alone, is one of several values, which have no order. `range(1,10,3)` is one of 1, 4 and 7,
    `interval(0,1)` any number in between, `int(interval(16,256))` a whole one, both ends included; of
    `tag(log,interval(…))` the logarithm is searched.

    Raises:
        ConfigError: a setting can't be read or can't be swept, or nothing is.
    """
    own: dict[str, Any] = {}
    fixed: list[str] = []
    swept: dict[str, BaseDistribution] = {}
    for text in settings:
        override = _parsed(text)
        key = override.get_key_element()
        if key in _TAKEN:
            raise ConfigError(f"{key}: {_TAKEN[key]}; leave {text[:80]} out")
        if not override.is_sweep_override():
            if key.startswith(_OWN):
                own[key.removeprefix(_OWN)] = override.value()
            else:
                fixed.append(text)
            continue
        if key == "task":
            raise ConfigError(f"{text[:80]}: a sweep compares runs of one task; write one")
        if key.startswith(_OWN) or override.is_hydra_override():
            raise ConfigError(f"{text[:80]}: is not a setting of a run and can't be swept; write one value")
        if key in swept:
            raise ConfigError(f"{key} is swept twice; leave one of them out")
        try:
            swept[key] = _distribution(override)
        except ValueError as error:  # Optuna's
            raise ConfigError(f"{text[:80]}: {' '.join(str(error).split())}; write another range") from error
    config: SweepConfig = fields.build(SweepConfig(), own, _OWN)
    if not swept:
        raise ConfigError("nothing is swept; write a setting with several values, as in 'encoder=choice(gru,lstm)'")
    # In one order, whatever the order that they were typed in: a sampler draws one after the other.
    return config, Space(tuple(fixed), dict(sorted(swept.items())))


def _parsed(text: str) -> Override:
    try:
        return OverridesParser.create().parse_overrides([text])[0]
    except HydraException as error:
        raise as_config_error(error) from error


def _distribution(override: Override) -> BaseDistribution:
    sweep, text = override.value(), f"{override.input_line!s:.80}"
    if override.value_type == ValueType.GLOB_CHOICE_SWEEP:
        raise ConfigError(f"{text}: glob is not for sweeps; name the values, as in choice(gru,lstm)")
    assert isinstance(sweep, Sweep)
    unknown = sweep.tags - {"log"}
    if unknown:
        raise ConfigError(f"{text}: there is no tag {min(unknown)}; there is log")
    log = "log" in sweep.tags
    if isinstance(sweep, IntervalSweep):
        low, high = sweep.start, sweep.end
        if isinstance(low, int) and isinstance(high, int):
            return IntDistribution(low, high, log=log)
        assert low is not None and high is not None
        return FloatDistribution(low, high, log=log)
    if log:
        raise ConfigError(f"{text}: log is the tag of an interval; write tag(log,interval(1e-4,1e-1)), say")
    if not isinstance(sweep, RangeSweep):
        return CategoricalDistribution(list(dict.fromkeys(override.sweep_string_iterator())))
    start, stop, step = (Decimal(str(part)) for part in (sweep.start, sweep.stop, sweep.step))  # floats would drift
    count = math.ceil((stop - start) / step) if step else 0
    if count < 1:
        raise ConfigError(f"{text}: holds no value; write range(first,end,step)")
    first, last = sorted((start, start + (count - 1) * step))
    if all(isinstance(part, int) for part in (sweep.start, sweep.stop, sweep.step)):
        return IntDistribution(int(first), int(last), step=abs(int(step)))
    return FloatDistribution(float(first), float(last), step=abs(float(step)))


def suggest(trial: Trial, key: str, of: BaseDistribution) -> None:
    """Give a trial a value of a distribution, if it has none."""
    if isinstance(of, FloatDistribution):
        trial.suggest_float(key, of.low, of.high, step=of.step, log=of.log)
    elif isinstance(of, IntDistribution):
        trial.suggest_int(key, of.low, of.high, step=of.step, log=of.log)
    elif isinstance(of, CategoricalDistribution):
        trial.suggest_categorical(key, of.choices)


def _values(key: str, distribution: BaseDistribution) -> Sequence[Any]:
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    if distribution.step is None or distribution.log:
        raise ConfigError(
            f"{key}: sweep.sampler=grid needs single values; write choice(…) or range(…), not interval(…)"
        )
    low, step = Decimal(str(distribution.low)), Decimal(str(distribution.step))
    count = int((Decimal(str(distribution.high)) - low) / step) + 1
    kind = int if isinstance(distribution, IntDistribution) else float
    return [kind(low + number * step) for number in range(min(count, LARGEST_GRID + 1))]
