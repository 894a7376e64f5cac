"""What can be chosen by name: the package's own entries, a program's, and those of installed packages."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from importlib import import_module, metadata
from typing import Any, Generic, TypeVar, cast

from unroll.errors import ConfigError

T = TypeVar("T")


class Registry(Generic[T]):
    """A table of names. An entry is an object, or the place to import it from when it is first asked for.

    A name that is not in the table is looked for among the entry points of installed packages:

        [project.entry-points."unroll.encoders"]
        my_encoder = "my_package.encoders:MyEncoder"
    """

    def __init__(self, setting: str, group: str, entries: dict[str, str | T]) -> None:
        """Make a table.

        Args:
            setting: that names an entry, for messages.
            group: of the entry points.
            entries: an object, or "module:attribute", by name.
        """
        self.setting, self.group = setting, group
        self._own, self._entries = frozenset(entries), dict(entries)

    def register(self, name: str, entry: T) -> None:
        """Add an entry, or replace one that a program has added before.

        Raises:
            ValueError: the package has an entry of this name, or it is no identifier.
        """
        if name in self._own:
            raise ValueError(f"{self.setting}={name} is unroll's own; choose another name")
        if not name.isidentifier():
            raise ValueError(f"{name!r}: a name is letters, digits and underscores")
        self._entries[name] = entry

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names, the package's own first."""
        yield from dict.fromkeys([*self._entries, *metadata.entry_points(group=self.group).names])

    def __contains__(self, name: object) -> bool:
        return name in self._entries or name in metadata.entry_points(group=self.group).names

    def __getitem__(self, name: str) -> T:
        """Return an entry, imported if need be.

        Raises:
            ConfigError: there is no such name, or an installed package's entry can't be imported.
        """
        entry = self._entries.get(name)
        entry = self._entries[name] = resolve(self._installed(name) if entry is None else entry)
        return cast(T, entry)

    def _installed(self, name: str) -> Any:
        for point in metadata.entry_points(group=self.group, name=name):
            try:
                return point.load()
            except Exception as error:  # the other package's, whatever it is
                reason = f"{type(error).__name__}: {error}".splitlines()[0][:200]
                raise ConfigError(f"{self.setting}={name}: {point.value} can't be imported ({reason})") from error
        near = get_close_matches(name, list(self), n=1)
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
