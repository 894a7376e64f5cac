"""Tables of names to choose from: unroll's own entries, those that a program adds, and those of installed packages."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from importlib import import_module, metadata
from typing import Any, Generic, TypeVar, cast

from unroll.errors import ConfigError

T = TypeVar("T")


class Registry(Generic[T]):
    """A table of names. An entry is an object, or the place to import it from when it is first used.

    Other names are looked up in the entry points of installed packages:

        [project.entry-points."unroll.encoders"]
        my_encoder = "my_package.encoders:MyEncoder"
    """

    def __init__(self, setting: str, group: str, entries: dict[str, str | T]) -> None:
        """Make a table.

        Args:
            setting: the setting that names an entry, for messages.
            group: the group of the entry points.
            entries: objects, or "module:attribute" each, by name.
        """
        self.setting, self.group = setting, group
        self._own, self._entries = frozenset(entries), dict(entries)

    def register(self, name: str, entry: T) -> None:
        """Add an entry, or replace one that was added before.

        Raises:
            ValueError: the name is one of unroll's own, or no identifier.
        """
        if name in self._own:
            raise ValueError(f"{self.setting}={name} is unroll's own; choose another name")
        if not name.isidentifier():
            raise ValueError(f"{name!r:.80}: a name has letters, digits and underscores only")
        self._entries[name] = entry

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names, unroll's own first."""
        yield from dict.fromkeys([*self._entries, *metadata.entry_points(group=self.group).names])

    def __contains__(self, name: object) -> bool:
        return name in self._entries or name in metadata.entry_points(group=self.group).names

    def __getitem__(self, name: str) -> T:
        """Return an entry, imported if necessary.

        Raises:
            ConfigError: the name is unknown, or an installed package's entry can't be imported.
        """
        entry = self._entries.get(name)
        entry = self._entries[name] = resolve(self._installed(name) if entry is None else entry)
        return cast(T, entry)

    def _installed(self, name: str) -> Any:
        for point in metadata.entry_points(group=self.group, name=name):
            try:
                return point.load()
            except Exception as error:  # any error of the other package
                place = f"{self.setting}={name[:80]}: {point.value[:80]}"
                reason = f"{type(error).__name__}: {error}".splitlines()[0][:200]
                raise ConfigError(f"{place} can't be imported ({reason})") from error
        near = get_close_matches(name[:80], list(self), n=1)
        hint = f"; did you mean {self.setting}={near[0]}?" if near else ""
        raise ConfigError(f"{self.setting}={name[:80]}: must be one of {', '.join(self)}{hint}")


def resolve(place: Any) -> Any:
    """Return the object at "module:attribute", and any other object as it is."""
    if not isinstance(place, str):
        return place
    module, _, attribute = place.partition(":")
    return getattr(import_module(module), attribute)


ENCODERS: Registry[Any] = Registry(
    "encoder.cell",
    "unroll.encoders",
    dict.fromkeys(("rnn_tanh", "rnn_relu", "gru", "lstm"), "unroll.encoders.recurrent:RecurrentEncoder")
    | {"min_gru": "unroll.encoders.min_gru:MinGRU"},
)
