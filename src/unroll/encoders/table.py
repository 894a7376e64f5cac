"""Encoders by name: those of `unroll.registry.ENCODERS`, made from the settings `encoder.*`."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import Parameter, isabstract, signature
from typing import Any

from unroll.encoders.interface import Encoder
from unroll.errors import ConfigError
from unroll.registry import ENCODERS

# What a setting is where it asks for nothing: an encoder whose constructor does not name it can do without it.
_NEUTRAL: dict[str, Any] = {"num_layers": 1, "bidirectional": False, "dropout": 0, "backend": "auto"}
_NEEDED = ("input_size", "hidden_size")
_ATTRIBUTES = {"input_size": int, "output_size": int, "num_directions": int, "state_parts": tuple}


def register_encoder(name: str, cls: type[Encoder]) -> None:
    """Add an encoder to the table, so that `encoder.cell=NAME` and checkpoints can name it.

    Raises:
        TypeError: `cls` is no complete subclass of `Encoder`.
        ValueError: the name is the package's own, or no identifier.
    """
    if fault := _fault(cls):
        raise TypeError(f"{name}: {fault}")
    ENCODERS.register(name, cls)


def build_encoder(input_size: int, *, cell: str, options: Mapping[str, Any] | None = None, **settings: Any) -> Encoder:
    """Make an encoder of the table, untrained.

    >>> build_encoder(8, cell="min_gru", hidden_size=16, num_layers=2).output_size
    16

    Args:
        input_size: features of the input at each step.
        cell: a name of the table. It is handed to a constructor that has a parameter of this name.
        options: arguments of an encoder of one's own, by name.
        settings: `hidden_size`, `num_layers`, `bidirectional`, `dropout`, `backend`. One that the constructor does not
            name is left out where it asks for nothing.

    Raises:
        ConfigError: an unknown cell, a setting or option that the encoder does not have, an option that is missing, or
            values that it refuses.
    """
    cls, options = ENCODERS[cell], options or {}
    if fault := _fault(cls):
        raise ConfigError(f"encoder.cell={cell}: {fault}")
    named = signature(cls).parameters
    for name, value in settings.items():
        if name not in named and (name not in _NEUTRAL or value != _NEUTRAL[name]):
            remedy = f"; write encoder.{name}={_written(_NEUTRAL[name])}" if name in _NEUTRAL else ""
            raise ConfigError(f"encoder.{name}={_written(value)}: encoder.cell={cell} has no such setting{remedy}")
    _check_options(cell, options, [named[name] for name in named if name not in {*_NEEDED, *_NEUTRAL, "cell"}])
    arguments = {"input_size": input_size, "cell": cell, **settings}
    try:
        encoder: Encoder = cls(**{name: value for name, value in arguments.items() if name in named}, **options)
    except ValueError as error:
        raise ConfigError(f"encoder.cell={cell}: {str(error).splitlines()[0]}") from error
    missing = [name for name, kind in _ATTRIBUTES.items() if not isinstance(getattr(encoder, name, None), kind)]
    if missing:
        raise ConfigError(
            f"encoder.cell={cell}: {cls.__name__} must set {', '.join(missing)}; see unroll.encoders.Encoder"
        )
    return encoder


def _check_options(cell: str, options: Mapping[str, Any], own: list[Parameter]) -> None:
    own = [parameter for parameter in own if parameter.kind not in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)]
    names = [parameter.name for parameter in own]
    for name in options:
        if name not in names:
            there_are = ", ".join(names) or "none"
            raise ConfigError(f"encoder.options.{name}: encoder.cell={cell} has no such option; there are {there_are}")
    for parameter in own:
        if parameter.default is Parameter.empty and parameter.name not in options:
            place = f"encoder.options.{parameter.name}"
            raise ConfigError(f"{place}: encoder.cell={cell} needs it; write {place}=VALUE")


def _fault(cls: Any) -> str:
    """Say what keeps an entry of the table from being an encoder's class; nothing where it is one."""
    if not (isinstance(cls, type) and issubclass(cls, Encoder)):
        return f"{cls!r} is no subclass of unroll.encoders.Encoder"
    if isabstract(cls):
        return f"{cls.__name__} does not define {', '.join(sorted(cls.__abstractmethods__))}"
    missing = [name for name in _NEEDED if name not in signature(cls).parameters]
    return f"{cls.__name__}'s constructor must take {' and '.join(missing)}" if missing else ""


def _written(value: Any) -> str:
    """A value as it is written in a setting."""
    return str(value).lower() if isinstance(value, bool) else str(value)
