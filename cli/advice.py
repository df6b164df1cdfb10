"""Commands in messages get the store and the data root that this command was given: typed as they stand, they work."""

from __future__ import annotations

import inspect
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import pairwise
from typing import Any

OPTIONS = {"store": "--store", "data_root": "--data-root"}
"""Parameter of a command -> the option that says where things lie."""

_COMMAND = re.compile(r"\bstructure ((?:(?:store|datasets) )?[a-z][a-z-]*)(?![\w-])")

_given: ContextVar[tuple[Mapping[str, str], Any]] = ContextVar("given", default=({}, None))


@contextmanager
def given(arguments: Sequence[str], app: Any) -> Iterator[None]:
    """While a command of the program `app` runs: what it was given."""
    token = _given.set((_typed(arguments), app))
    try:
        yield
    finally:
        _given.reset(token)


def complete(text: str) -> str:
    """The text with `--store` and `--data-root` in each command that takes them and does not say them, where the
    running command was given them; those of the environment hold anyway."""
    typed, app = _given.get()
    if not typed or not _COMMAND.search(text):
        return text
    takers = _takers(app)

    def completed(match: re.Match[str]) -> str:
        rest = text[match.end() :].partition("structure ")[0]
        missing = [
            f" {option} {shlex.quote(value)}"
            for option, value in typed.items()
            if option in takers.get(match[1], ()) and option not in rest
        ]
        return match[0] + "".join(missing)

    return _COMMAND.sub(completed, text)


def _typed(arguments: Sequence[str]) -> dict[str, str]:
    """Option -> value, of those that say where things lie; the last one where one is there twice."""
    words = list(arguments)[: list(arguments).index("--")] if "--" in arguments else list(arguments)
    found = {}
    for option in OPTIONS.values():
        for word, following in pairwise([*words, ""]):
            if word == option and following:
                found[option] = following
            elif word.startswith(f"{option}="):
                found[option] = word.partition("=")[2]
    return found


def _takers(app: Any, prefix: str = "") -> dict[str, frozenset[str]]:
    """Command, with the name of its group -> the options of `OPTIONS` that it takes."""
    takers = {}
    for command in app.registered_commands:
        parameters = inspect.signature(command.callback).parameters
        takers[f"{prefix}{command.name}"] = frozenset(OPTIONS[name] for name in OPTIONS if name in parameters)
    for group in app.registered_groups:
        takers |= _takers(group.typer_instance, f"{group.name} ")
    return takers
