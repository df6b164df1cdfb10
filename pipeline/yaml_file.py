"""A YAML file read strictly: line numbers for messages, no repeated and no unknown keys."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import yaml

from structure.store.errors import StructureError, nearest, unknown
from structure.store.files_at_url import open_files

MOST, DEEPEST = 200_000, 60
"""Values that a document may have, aliases counted as often as they stand, and how deep."""

Place = tuple[str | int, ...]
"""Where a value stands in the document: keys and list positions from the top."""


class _Loader(yaml.SafeLoader):
    """Reads `1e-4` as the number that YAML 1.2 says it is; to PyYAML alone it is a text."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+\Z"),
    list("-+.0123456789"),
)


@dataclass(frozen=True)
class YamlFile:
    """A document whose top is a mapping. `name` is what messages call the file; `lines` gives each value's line."""

    name: str
    data: Mapping[str, Any]
    lines: Mapping[Place, int]

    def error(self, place: Place, message: str) -> StructureError:
        """An error that starts with file and line of the value at `place`, or of the nearest value around it."""
        while place and place not in self.lines:
            place = place[:-1]
        return StructureError(f"{self.name}, line {self.lines.get(place, 1)}: {message}")

    def mapping(self, place: Place, *, allowed: Iterable[str]) -> Mapping[str, Any]:
        """The mapping at `place` with no key outside `allowed`; an unknown key is refused with the nearest offered."""
        value = self._mapping(place)
        options = list(allowed)
        for key in value:
            if key not in options:
                close = nearest(str(key), options)
                offer = f"Did you mean {' or '.join(close)}?" if close else f"Known: {', '.join(options)}."
                raise self.error((*place, key), f"unknown key {key!r}. {offer}")
        return value

    def named(self, place: Place) -> Mapping[str, Any]:
        """The mapping at `place`, whose keys are free names."""
        return self._mapping(place)

    def strings(self, place: Place) -> tuple[str, ...]:
        """The list of strings at `place`, nothing empty among them. YAML reads `no`, `1` and `on` as something else."""
        value = self.at(place)
        if not isinstance(value, list):
            raise self.error(place, f"expected a list of strings, found {value!r}.")
        return self.strings_of(place, value)

    def strings_of(self, place: Place, value: Sequence[Any]) -> tuple[str, ...]:
        """The entries of the list `value` at `place`, as `strings`."""
        for index, entry in enumerate(value):
            if not isinstance(entry, str) or not entry.strip():
                raise self.error((*place, index), f"expected a string, found {entry!r}. Put it in quotes.")
        return tuple(value)

    def _mapping(self, place: Place) -> Mapping[str, Any]:
        value = self.at(place)
        if not isinstance(value, dict):
            raise self.error(place, f"expected keys with values, found {value!r}.")
        return value

    def at(self, place: Place) -> Any:
        """The value at `place`, which must be there."""
        value: Any = self.data
        for step in place:
            value = value[step]
        return value


def parse_yaml(text: str, *, name: str) -> YamlFile:
    """Parse a document; bad syntax, a repeated key or a top that is no mapping raise `StructureError` with the line."""
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        lines = {} if node is None else _lines(node, name)
        data = None if node is None else loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise StructureError(f"{name}, line {line}: not YAML: {error.problem}.") from error
    except RecursionError:
        raise StructureError(f"{name}: not YAML: it is nested too deeply.") from None
    except (yaml.YAMLError, ValueError, TypeError) as error:  # ValueError: a date that is none
        raise StructureError(f"{name}: not YAML: {error}.") from error
    if not isinstance(data, dict):
        raise StructureError(f"{name}, line 1: expected keys with values at the top.")
    return YamlFile(name, data, lines)


def _lines(node: yaml.Node, name: str) -> dict[Place, int]:
    """Where each value stands; before anything is made of the nodes, because merged aliases swell while they are."""
    lines: dict[Place, int] = {}
    for place, line in _walk(node, (), name):
        lines[place] = line
        if len(lines) > MOST or len(place) > DEEPEST:
            raise StructureError(
                f"{name}, line {line}: more than {MOST:,} values, or {DEEPEST} in each other: aliases that hold each "
                "other swell to that. Write the values out."
            )
    return lines


def yaml_value(text: str) -> Any:
    """The value that a text is as YAML. Raises yaml.YAMLError, also for what is nested too deeply or is no date."""
    try:
        return yaml.load(text, Loader=_Loader)
    except (RecursionError, ValueError, TypeError) as error:
        raise yaml.YAMLError(str(error)) from None


def read_yaml(path: str | Path) -> YamlFile:
    """Read a file of the user's (a path, or an fsspec URL); absent or not text raises `StructureError`."""
    try:
        folder, _, name = str(path).rpartition("/")
        if "://" in folder:
            text = open_files(folder).read(name).decode()
        else:
            text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise StructureError(f"There is no file {path}.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise StructureError(f"{path} cannot be read as text: {error}.") from error
    return parse_yaml(text, name=str(path))


def shipped(folder: str) -> Mapping[str, Traversable]:
    """The YAML files of `structure.configs/<folder>` by name without ending, in alphabetical order."""
    found = {
        entry.name[:-5]: entry
        for entry in files("structure.configs").joinpath(folder).iterdir()
        if entry.name.endswith(".yaml")
    }
    return dict(sorted(found.items()))


def load_yaml(kind: str, spec: str, *, folder: str) -> YamlFile:
    """The file that `spec` means: a path when it ends in .yaml or .yml, else a name in `structure.configs/<folder>`."""
    if spec.endswith((".yaml", ".yml")):
        return read_yaml(spec)
    known = shipped(folder)
    if spec not in known:
        raise unknown(kind, spec, known, hint="A file of your own is named by its path, ending in .yaml.")
    return parse_yaml(known[spec].read_text(encoding="utf-8"), name=f"configs/{folder}/{spec}.yaml")


def _walk(node: yaml.Node, place: Place, name: str) -> Iterator[tuple[Place, int]]:
    yield place, node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        seen: dict[Any, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise StructureError(f"{name}, line {line}: a key must be one word, not a list or a mapping.")
            if key.value in seen:
                raise StructureError(
                    f"{name}, line {line}: {key.value!r} stands twice, first on line {seen[key.value]}. "
                    "The first would be lost."
                )
            seen[key.value] = line
            yield from _walk(value, (*place, key.value), name)
            yield (*place, key.value), line
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _walk(value, (*place, index), name)
