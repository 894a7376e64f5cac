"""Settings as typed dataclass fields with ranges, built from plain values with every mistake named."""

from __future__ import annotations

import dataclasses
import reprlib
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
SHOWN = 80  # characters of a value in a message

_NAMES: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    types.NoneType: "null",
    list[str]: "a list of names",
    list[int]: "a list of whole numbers",
}
_WORDS = dict.fromkeys(("1", "on", "true", "yes"), True) | dict.fromkeys(("0", "false", "no", "off"), False)


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
    hints = typing.get_type_hints(type(default))
    if not isinstance(values, Mapping):
        what, example = prefix.rstrip(".") or "the config", f"{prefix}{next(iter(hints))}=…"
        raise ConfigError(f"{what} must be a group of settings, not {brief(values)}; set one of them, as in {example}")
    for key in values:
        if key not in hints:
            raise unknown_key(f"{prefix}{brief(key)}", [prefix + name for name in keys(type(default))])
    arguments = {}
    for field_ in dataclasses.fields(default):
        if field_.name not in values:
            continue
        place, value, before = prefix + field_.name, values[field_.name], getattr(default, field_.name)
        if dataclasses.is_dataclass(hints[field_.name]):
            arguments[field_.name] = build(before, value, f"{place}.")
        else:
            value = arguments[field_.name] = _convert(hints[field_.name], value, place, before)
            for entry in value if isinstance(value, list) else [value]:
                check_range(field_.metadata, entry, place)
    return dataclasses.replace(default, **arguments)


def unknown_key(key: str, known: list[str]) -> ConfigError:
    """Return the error for a dotted key that is no setting, with the nearest one that is."""
    near = [RENAMED[key]] if key in RENAMED else get_close_matches(key, known, n=1, cutoff=0.6)
    hint = f"did you mean '{near[0]}'?" if near else "`unroll train --cfg job` lists them all"
    return ConfigError(f"there is no setting '{brief(key)}'; {hint}")


def _convert(hint: Any, value: Any, place: str, default: Any) -> Any:
    """Return `value` as the type `hint`: a scalar type, a list of strings or of integers, or a union of such."""
    allowed = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    lists = [kind for kind in allowed if typing.get_origin(kind) is list]
    for kind in lists:
        if isinstance(value, list | tuple) and all(type(entry) in typing.get_args(kind) for entry in value):
            return list(value)
    if value == "":
        raise ConfigError(f"{place} is empty; give it a value{', or null' if types.NoneType in allowed else ''}")
    if isinstance(value, str) and "\0" in value:
        raise ConfigError(f"{place} holds a NUL character, which no file's name may have; leave it out")
    if hint == dict[str, Any] and isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return dict(value)
    scalars = [kind for kind in allowed if kind not in lists]
    if type(value) in scalars:  # not isinstance: True is no integer here
        return value
    if float in scalars and type(value) is int and abs(value) < 2**1023:
        return float(value)
    if str in scalars and type(value) is int and value.bit_length() <= 64:  # trainer.precision=32
        return str(value)
    wanted = " or ".join(_NAMES.get(kind, "a group of settings") for kind in allowed)
    meant = _meant(allowed, value, default)
    remedy = "" if meant is None else f"; write {place}={brief(meant)}"
    quotes = " without quotes" if isinstance(value, str) and brief(meant) == value else ""
    raise ConfigError(f"{place}={brief(value)}: must be {wanted}{remedy}{quotes}")


def _meant(allowed: tuple[Any, ...], value: Any, default: Any) -> Any:
    """Return what was probably meant by a value of a wrong type; None where nobody can tell."""
    if value is None:
        return default
    if (list[str] in allowed and isinstance(value, str)) or (list[int] in allowed and type(value) is int):
        return [value]
    if bool in allowed:
        return _WORDS.get(brief(value).lower())
    if isinstance(value, str | float) and (int in allowed or float in allowed):
        try:
            number = float(value[:SHOWN] if isinstance(value, str) else value)
        except ValueError:
            return None
        return int(number) if number.is_integer() and abs(number) < 2**63 else number if float in allowed else None
    return None


def check_range(metadata: Mapping[str, Any], value: Any, place: str) -> None:
    """Refuse a value outside the range or the choices of a `setting`."""
    low, high, choices = metadata.get("low"), metadata.get("high"), metadata.get("choices")
    if value is None:
        return
    if choices and value not in choices:
        near = get_close_matches(brief(value), choices, n=1)
        hint = f"; did you mean {place}={near[0]}?" if near else ""
        raise ConfigError(f"{place}={brief(value)}: must be one of {', '.join(choices)}{hint}")
    # `not value >= low` and not `value < low`: NaN must fail as well.
    if low is not None and not value >= low:
        raise ConfigError(f"{place}={brief(value)}: must be at least {low:g}")
    if high is not None and not value <= high:
        raise ConfigError(f"{place}={brief(value)}: must be {'below 1' if high == BELOW_1 else f'at most {high:g}'}")


def brief(value: Any) -> str:
    """Return a value as it is written in a setting, cut to `SHOWN` characters before it becomes text.

    >>> brief(True), brief(None), brief(["max", "mean"]), brief(10**100)
    ('true', 'null', '[max,mean]', 'a number of 333 bits')
    """
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, int):
        return str(value) if value.bit_length() <= 64 else f"a number of {value.bit_length()} bits"
    if isinstance(value, list) and len(value) < 10 and all(isinstance(entry, str) for entry in value):
        text = f"[{','.join(entry[:SHOWN] for entry in value)}]"
    elif isinstance(value, str | float):
        text = value[:SHOWN] if isinstance(value, str) else str(value)
    else:
        try:
            text = reprlib.repr(value)
        except ValueError:  # Python writes no number of thousands of digits
            text = f"a {type(value).__name__}"
    return " ".join(text.split())[:SHOWN]
