"""A dataset's name taken apart: `kind:argument?option=value&option=value`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote
from urllib.parse import unquote

_OPTION = r"[a-z_]+=[^?]*|percentile"
_OPTIONS = re.compile(rf"(?P<argument>.*)\?(?P<options>(?:{_OPTION})(?:&(?:{_OPTION}))*)", re.DOTALL)


@dataclass(frozen=True)
class DatasetSpec:
    """`kind` is the word before the colon, `argument` what follows it, `options` each option's values, as many as
    were given."""

    kind: str
    argument: str = ""
    options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def parse(cls, spec: str) -> DatasetSpec:
        """`pairs:my.csv?image=file_name&sep=;`. A value may hold `%26` for `&` and `%3F` for `?`.

        Text after a question mark that is no `option=value` belongs to the argument (a pattern such as
        `shards/00?.tar`), and so does all of a name that is a path that is there.
        """
        kind, _, argument = spec.partition(":")
        matched = _OPTIONS.fullmatch(argument or kind)
        if matched is None or (argument and Path(argument).exists()):
            return cls(kind, argument)
        options: dict[str, tuple[str, ...]] = {}
        for part in matched["options"].split("&"):
            name, _, value = part.partition("=")
            options[name] = (*options.get(name, ()), unquote(value))
        return cls(kind, matched["argument"], options) if argument else cls(matched["argument"], "", options)


def typed(spec: str) -> str:
    """A dataset's name as it is typed in a shell: in quotation marks where one would take a letter for its own."""
    return quote(spec)
