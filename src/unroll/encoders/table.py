"""Encoders by name: the entries of `unroll.registry.ENCODERS`, made from the settings `encoder.*`."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import Parameter, isabstract, signature
from typing import Any

from unroll.encoders.interface import Encoder
from unroll.errors import ConfigError
from unroll.registry import ENCODERS

# The value by which a setting asks for nothing. An encoder may lack a setting as long as it has this value.
_NEUTRAL: dict[str, Any] = {
    "num_layers": 1,
    "bidirectional": False,
    "dropout": 0,
    "locked_dropout": False,
    "weight_dropout": 0,
    "backend": "auto",
}
_NEEDED = ("input_size", "hidden_size")
_ATTRIBUTES = {"input_size": int, "output_size": int, "num_directions": int, "state_parts": tuple}


def register_encoder(name: str, cls: type[Encoder]) -> None:
    """Add an encoder to the table. `encoder.cell=NAME` and checkpoints can then name it.

    Raises:
        TypeError: `cls` is no complete subclass of `Encoder`.
        ValueError: the name is one of unroll's own, or no identifier.
    """
    if fault := _fault(cls):
        raise TypeError(f"{name}: {fault}")
    ENCODERS.register(name, cls)


def build_encoder(input_size: int, *, cell: str, options: Mapping[str, Any] | None = None, **settings: Any) -> Encoder:
    """Make an untrained encoder.

    >>> build_encoder(8, cell="min_gru", hidden_size=16, num_layers=2).output_size
    16

    Args:
        input_size: features of each step's input.
        cell: a name in the table. The constructor gets it too if it has a parameter `cell`.
        options: further arguments of the constructor, by name.
        settings: `hidden_size`, `num_layers`, `bidirectional`, `dropout`, `locked_dropout`, `weight_dropout`,
            `backend`. The constructor may lack one of them if its value asks for nothing, such as `num_layers=1`.

    Raises:
        ConfigError: the cell is unknown, it lacks a setting or an option, an option is missing, or the encoder refuses
            a value.
    """
    cls, options = ENCODERS[cell], options or {}
    if fault := _fault(cls):
        raise ConfigError(f"encoder.cell={cell}: {fault}")
    named = signature(cls).parameters
    for name, value in settings.items():
        if name not in named and (name not in _NEUTRAL or value != _NEUTRAL[name]):
            remedy = f"; write encoder.{name}={_written(_NEUTRAL[name])}" if name in _NEUTRAL else ""
            raise ConfigError(f"encoder.{name}={_written(value)}: encoder.cell={cell} has no such setting{remedy}")
    _check_options(cell, options, named)
    arguments = {"input_size": input_size, "cell": cell, **settings}
    try:
        encoder: Encoder = cls(**{name: value for name, value in arguments.items() if name in named}, **options)
    except ValueError as error:
        first_line = str(error).partition("\n")[0][:200]
        raise ConfigError(f"encoder.cell={cell}: {first_line}") from error
    missing = [name for name, kind in _ATTRIBUTES.items() if not isinstance(getattr(encoder, name, None), kind)]
    if missing:
        raise ConfigError(
            f"encoder.cell={cell}: {cls.__name__} must set {', '.join(missing)}; see unroll.encoders.Encoder"
        )
    return encoder


def _check_options(cell: str, options: Mapping[str, Any], named: Mapping[str, Parameter]) -> None:
    settings, rest = {*_NEEDED, *_NEUTRAL, "cell"}, (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
    own = {name: of for name, of in named.items() if name not in settings and of.kind not in rest}
    for name in options:
        if name not in own:
            place, known = f"encoder.options.{name[:80]}", ", ".join(own) or "none"
            raise ConfigError(f"{place}: encoder.cell={cell} has no such option; there are {known}")
    for name, parameter in own.items():
        if parameter.default is Parameter.empty and name not in options:
            place = f"encoder.options.{name}"
            raise ConfigError(f"{place}: encoder.cell={cell} needs it; write {place}=VALUE")


def _fault(cls: Any) -> str:
    """Say why an entry of the table is no class of encoders; an empty text if it is one."""
    if not (isinstance(cls, type) and issubclass(cls, Encoder)):
        return f"{cls!r} is no subclass of unroll.encoders.Encoder"
    if isabstract(cls):
        return f"{cls.__name__} does not define {', '.join(sorted(cls.__abstractmethods__))}"
    missing = [name for name in _NEEDED if name not in signature(cls).parameters]
    return f"{cls.__name__}'s constructor must take {' and '.join(missing)}" if missing else ""


def _written(value: Any) -> str:
    """Return a value as a setting writes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)
