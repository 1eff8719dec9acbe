"""Named things of one kind that a user's own package can add to."""

from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import EntryPoints, entry_points
from typing import Generic, TypeVar

from weam_ext.common.errors import InputError

T = TypeVar("T")


class Registry(Mapping[str, T], Generic[T]):
    """What there is of a kind, by name: what was added, and what installed packages declare.

    A package declares its own as entry points of the group `weam_ext.KIND`; they are loaded when
    they are first asked for. A script adds with the decorator `add`. Raises `InputError` for a name
    that is not there, and for one that is added twice.

    Args:
        kind: what the things are, in the plural, such as "objectives".
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._added: dict[str, T] = {}

    def __repr__(self) -> str:
        return f"Registry({self.kind!r}: {', '.join(self)})"

    def add(self, name: str) -> Callable[[T], T]:
        """A decorator that adds what it decorates under a name."""

        def adding(thing: T) -> T:
            if name in self:
                raise InputError(f"{self.kind}: there is one called {name!r} already")
            self._added[name] = thing
            return thing

        return adding

    def __getitem__(self, name: str) -> T:
        if name in self._added:
            return self._added[name]
        for point in self._declared():
            if point.name == name:
                return self._added.setdefault(name, point.load())
        raise InputError(f"{self.kind}: {name!r} is not one of {', '.join(self)}")

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys([*self._added, *(point.name for point in self._declared())]))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __contains__(self, name: object) -> bool:
        return name in list(iter(self))

    def _declared(self) -> EntryPoints:
        return entry_points(group=f"weam_ext.{self.kind}")
