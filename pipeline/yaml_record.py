"""A frozen dataclass read from a YAML file: its fields are the keys, their types say what each may hold.

Types: str, int, float, bool, Any, `X | None`, Literal[...], tuple[X, ...], Mapping[str, X] and other dataclasses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from structure.pipeline.yaml_file import Place, YamlFile
from structure.store.errors import StructureError, unknown

Record = TypeVar("Record")

_WORDS = {str: "text", int: "a whole number", float: "a number", bool: "true or false", NoneType: "null"}


def key(*, default: Any = MISSING, least: int | None = None, fewest: int = 0) -> Any:
    """A dataclass field with limits: `least` value of a number (or of each in a list), `fewest` entries of a list."""
    return field(default=default, metadata={"least": least, "fewest": fewest})


@cache
def keys_of(kind: Any) -> tuple[str, ...]:
    """The keys that a record of this dataclass may have."""
    return tuple(each.name for each in fields(cast(Any, kind)) if each.init)


def read_record(
    file: YamlFile,
    place: Place,
    kind: type[Record],
    *,
    noun: str,
    defaults: Mapping[str, Any] | None = None,
    shorthand: str = "",
    given: Mapping[str, Any] | None = None,
) -> Record:
    """The mapping at `place` as a `kind`; messages call it `noun`. `defaults` are YAML values for keys it does not
    have; a text alone means the key `shorthand`; `given` are values of fields that the file does not say.

    A null takes the dataclass's own default. Raises StructureError with file and line for an unknown key (with the
    nearest), a key that is missing, and a value of another type.
    """
    known = [name for name in keys_of(cast(Any, kind)) if name not in (given or {})]
    here = file.at(place)
    entry = {shorthand: here} if shorthand and isinstance(here, str) else file.mapping(place, allowed=known)
    values = {**(defaults or {}), **entry}
    read: dict[str, Any] = dict(given or {})
    types = _types(cast(Any, kind))
    for each in fields(cast(Any, kind)):
        if each.name not in known:
            continue
        required = each.default is MISSING and each.default_factory is MISSING
        optional = NoneType in get_args(types[each.name])
        if each.name in values and not (values[each.name] is None and not optional and not required):
            at = _Position(file, (*place, each.name), noun, each)
            read[each.name] = at.value(values[each.name], types[each.name])
        elif required:
            raise file.error(place, f"the {noun} needs {each.name!r}, {describe(types[each.name])}.")
    return kind(**read)


@cache
def _types(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


@dataclass(frozen=True)
class _Position:
    """Where a value of a record stands, for messages."""

    file: YamlFile
    place: Place
    noun: str
    field: Field[Any]

    def value(self, value: Any, kind: Any) -> Any:
        """`value` as YAML has it, as a `kind`."""
        origin, inner = get_origin(kind), get_args(kind)
        if kind is Any:
            return value
        if origin in (Union, UnionType):
            return self._one_of(value, inner)
        if origin is Literal:
            if value not in inner:
                about = f"{self.field.name} of {self.noun}"
                raise self.file.error(self.place, str(unknown(about, str(value), list(map(str, inner)))))
            return value
        if origin is tuple:
            return self._list(value, kind, inner[0])
        if origin is not None and issubclass(origin, Mapping):
            return self._mapping(value, inner[1])
        if is_dataclass(kind):
            return read_record(self.file, self.place, cast(type[Any], kind), noun=self.field.name.rstrip("s"))
        return self._scalar(value, kind)

    def _one_of(self, value: Any, kinds: tuple[Any, ...]) -> Any:
        """The first of several types that the value has the form of."""
        for kind in kinds:
            if kind is NoneType and value is None:
                return None
            if get_origin(kind) is tuple and isinstance(value, list):
                return self.value(value, kind)
            if kind in _WORDS and _is_scalar(value, kind):
                return value
            if isinstance(value, dict) and kind not in _WORDS:
                return self.value(value, kind)
        raise self._wrong(value, Union[kinds])  # noqa: UP007 - made of a tuple

    def _list(self, value: Any, kind: Any, inner: Any) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise self._wrong(value, kind)
        if inner is str:
            return self.file.strings_of(self.place, value)
        least, fewest = self._limits()
        if inner in _WORDS:
            right = all(_is_scalar(each, inner) and (least is None or each >= least) for each in value)
            if not right or len(value) < fewest:
                raise self._wrong(value, kind)
            return tuple(value)
        return tuple(self._below(index).value(each, inner) for index, each in enumerate(value))

    def _mapping(self, value: Any, inner: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self.file.error(self.place, f"expected keys with values, found {value!r}.")
        for name in value:
            if not isinstance(name, str):
                raise self.file.error((*self.place, str(name)), f"expected a name, found {name!r}. Put it in quotes.")
        return {name: self._below(name).value(each, inner) for name, each in value.items()}

    def _scalar(self, value: Any, kind: Any) -> Any:
        least, _ = self._limits()
        if not _is_scalar(value, kind) or (least is not None and value < least):
            raise self._wrong(value, kind)
        return value

    def _limits(self) -> tuple[int | None, int]:
        return self.field.metadata.get("least"), self.field.metadata.get("fewest", 0)

    def _below(self, step: str | int) -> _Position:
        return _Position(self.file, (*self.place, step), self.noun, self.field)

    def _wrong(self, value: Any, kind: Any) -> StructureError:
        least, fewest = self._limits()
        limits = (f" from {least}" if least is not None else "") + (f", {fewest} or more" if fewest else "")
        quotes = " Put it in quotes." if kind is str and isinstance(value, bool | int | float) else ""
        name = self.place[-1] if isinstance(self.place[-1], str) else self.field.name
        return self.file.error(self.place, f"{name!r} is {value!r}; it must be {describe(kind)}{limits}.{quotes}")


def describe(kind: Any) -> str:
    """A type in words: `text`, `a list of whole numbers`, `a whole number or text`."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return " or ".join(describe(each) for each in inner if each is not NoneType)
    if origin is Literal:
        return " or ".join(map(str, inner))
    if origin is tuple:
        entries = {str: "texts", int: "whole numbers", float: "numbers"}.get(inner[0], "entries")
        return f"a list of {entries}"
    return _WORDS.get(kind, "keys with values")


def _is_scalar(value: Any, kind: type) -> bool:
    """Whether YAML read a value of that type; true and false are no numbers, a whole number is a number."""
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
