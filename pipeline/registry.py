"""A registry: the members of one kind by name, from this package and from installed ones. Each is loaded when used."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar, cast

from structure.store.errors import StructureError, unknown

Member = TypeVar("Member")


class Registry(Mapping[str, Member], Generic[Member]):
    """Name -> member. Names are known without importing anything; `registry[name]` imports what defines the member.

    `homes` are the members of this package, as `name: "package.module:attribute"`, or a function that gives them when
    they are first asked for. Other packages add members under the entry point group `group`; a name of this package
    cannot be taken by another one.
    """

    def __init__(self, what: str, group: str, homes: Mapping[str, str] | Callable[[], Mapping[str, str]]) -> None:
        self.what, self.group, self._stated = what, group, homes
        self._loaded: dict[str, Member] = {}

    @cached_property
    def _homes(self) -> Mapping[str, str]:
        return self._stated() if callable(self._stated) else self._stated

    @cached_property
    def _others(self) -> dict[str, EntryPoint]:
        """Members of other installed packages. Raises StructureError where two packages use one name."""
        found: dict[str, EntryPoint] = {}
        for point in entry_points(group=self.group):
            if point.name in self._homes or point.name in found:
                owner = "this package" if point.name in self._homes else _package(found[point.name])
                raise StructureError(
                    f"The {self.what} {point.name!r} of the package {_package(point)} is also one of {owner}. "
                    f"Uninstall one of them: pip uninstall {_package(point)}"
                )
            found[point.name] = point
        return found

    def __getitem__(self, name: str) -> Member:
        """The member of that name. Raises StructureError with the nearest names, or with why it failed to load."""
        if name not in self._loaded:
            self._loaded[name] = self._load(name)
        return self._loaded[name]

    def _load(self, name: str) -> Member:
        if name in self._homes:
            module, _, attribute = self._homes[name].partition(":")
            return cast(Member, getattr(import_module(module), attribute))
        self.require(name)
        point = self._others[name]
        try:
            return cast(Member, point.load())
        except Exception as error:  # somebody else's code: whatever it raises, the user needs its package's name
            raise StructureError(
                f"The {self.what} {name!r} of the package {_package(point)} does not load ({type(error).__name__}: "
                f"{error}). Update that package, or remove it: pip uninstall {_package(point)}"
            ) from error

    def require(self, name: str, *, hint: str = "") -> str:
        """The name itself, if there is such a member; nothing is imported. Raises StructureError with the nearest."""
        if name not in self:
            raise unknown(self.what, name, list(self), hint=hint)
        return name

    def __contains__(self, name: object) -> bool:
        return name in self._homes or name in self._others

    def __iter__(self) -> Iterator[str]:
        yield from self._homes
        yield from self._others

    def __len__(self) -> int:
        return len(self._homes) + len(self._others)


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else point.value.partition(".")[0]
