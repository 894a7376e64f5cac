"""Settings as typed dataclass fields with ranges, built from plain values with every mistake named."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import field
from difflib import get_close_matches
from typing import Any

from unroll.config.legacy import RENAMED
from unroll.errors import ConfigError
from unroll.registry import Registry

BELOW_1 = 1 - 1e-6  # as the end of a range: anything below 1

_NAMES: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    types.NoneType: "null",
    list[str]: "a list of names",
}


def setting(
    default: Any,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] | Registry[Any] = (),
) -> Any:
    """A field with a range, ends included, or a table of choices. The range of a list holds for its entries."""
    metadata = {"low": low, "high": high, "choices": choices}
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def keys(cls: type, prefix: str = "") -> Iterator[str]:
    """Yield the dotted names of all settings and groups of settings of a dataclass."""
    for name, hint in typing.get_type_hints(cls).items():
        yield prefix + name
        if dataclasses.is_dataclass(hint):
            yield from keys(typing.cast(type, hint), f"{prefix}{name}.")


def build(default: Any, values: Any, prefix: str = "") -> Any:
    """Return a copy of the dataclass `default` with plain values in it, every one of them checked.

    Raises:
        ConfigError: an unknown key, a wrong type, or a value out of its range; the message says what to write.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"{prefix.rstrip('.') or 'the config'} must be a group of settings, not {_shown(values)}")
    hints = typing.get_type_hints(type(default))
    for key in values:
        if key not in hints:
            raise unknown_key(f"{prefix}{key}", [prefix + name for name in keys(type(default))])
    arguments = {}
    for field_ in dataclasses.fields(default):
        if field_.name not in values:
            continue
        place, value, hint = prefix + field_.name, values[field_.name], hints[field_.name]
        if dataclasses.is_dataclass(hint):
            arguments[field_.name] = build(getattr(default, field_.name), value, f"{place}.")
        else:
            value = arguments[field_.name] = _convert(hint, value, place)
            for entry in value if isinstance(value, list) else [value]:
                check_range(field_.metadata, entry, place)
    return dataclasses.replace(default, **arguments)


def unknown_key(key: str, known: list[str]) -> ConfigError:
    """Return the error for a dotted key that is no setting, with the nearest one that is."""
    near = [RENAMED[key]] if key in RENAMED else get_close_matches(key, known, n=1, cutoff=0.6)
    hint = f"did you mean '{near[0]}'?" if near else "`python scripts/train.py --cfg job` lists them all"
    return ConfigError(f"there is no setting '{key}'; {hint}")


def _convert(hint: Any, value: Any, place: str) -> Any:
    """Return `value` as the type `hint`: a scalar type, a union of such, or a list of strings."""
    allowed = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if list[str] in allowed and isinstance(value, list | tuple) and all(isinstance(entry, str) for entry in value):
        return list(value)
    if value == "":
        raise ConfigError(f"{place} is empty; give it a value{', or null' if types.NoneType in allowed else ''}")
    if hint == dict[str, Any] and isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return dict(value)
    scalars = [kind for kind in allowed if kind != list[str]]
    if type(value) in scalars:  # not isinstance: True is no integer here
        return value
    if float in scalars and type(value) is int:
        return float(value)
    if str in scalars and type(value) is int:  # trainer.devices=1, trainer.precision=32
        return str(value)
    wanted = " or ".join(_NAMES.get(kind, "a group of settings") for kind in allowed)
    raise ConfigError(f"{place}={_shown(value)}: must be {wanted}")


def check_range(metadata: Mapping[str, Any], value: Any, place: str) -> None:
    """Refuse a value outside the range or the choices of a `setting`."""
    low, high, choices = metadata.get("low"), metadata.get("high"), metadata.get("choices")
    if value is None:
        return
    if choices and value not in choices:
        near = get_close_matches(str(value), choices, n=1)
        hint = f"; did you mean {place}={near[0]}?" if near else ""
        raise ConfigError(f"{place}={_shown(value)}: must be one of {', '.join(choices)}{hint}")
    # Written so that NaN fails as well.
    if low is not None and not value >= low:
        raise ConfigError(f"{place}={_shown(value)}: must be at least {low:g}")
    if high is not None and not value <= high:
        raise ConfigError(f"{place}={_shown(value)}: must be {'below 1' if high == BELOW_1 else f'at most {high:g}'}")


def _shown(value: Any) -> str:
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return " ".join(text.split())[:80]
