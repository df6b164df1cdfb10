"""Flags of a command as one value: a frozen dataclass whose fields are typer's options. Common groups are inherited."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from typing import Any, TypeVar, get_type_hints

from structure.cli.consent import DryRunOption, YesOption
from structure.cli.options import (
    DEFAULT_DATA,
    DEFAULT_STORE,
    DataRootOption,
    JsonOption,
    QuietOption,
    StoreOption,
    TrustOption,
)
from structure.cli.terminal import Terminal

Flags = TypeVar("Flags")


@dataclass(frozen=True, kw_only=True)
class OutputFlags:
    """How a command answers."""

    as_json: JsonOption = False
    quiet: QuietOption = False

    def terminal(self) -> Terminal:
        """What draws progress and prints the result."""
        return Terminal(as_json=self.as_json, quiet=self.quiet)


@dataclass(frozen=True, kw_only=True)
class StoreFlags(OutputFlags):
    """Where a command works: a store."""

    store: StoreOption = DEFAULT_STORE


@dataclass(frozen=True, kw_only=True)
class DataFlags(OutputFlags):
    """Where a command reads datasets."""

    data_root: DataRootOption = DEFAULT_DATA


@dataclass(frozen=True, kw_only=True)
class PlanFlags:
    """Whether a command only plans, and whether it asks before long work."""

    dry_run: DryRunOption = False
    yes: YesOption = False


@dataclass(frozen=True, kw_only=True)
class TrustFlags:
    """Whether a command runs code that comes with a model."""

    trust_remote_code: TrustOption = False


def takes_flags(command: Callable[[Flags], None]) -> Callable[..., None]:
    """The command with one parameter for each field of its flags, as typer reads it. Own fields go first."""
    (annotation,) = get_type_hints(command).keys() - {"return"}
    flags: Any = get_type_hints(command)[annotation]
    hints = get_type_hints(flags, include_extras=True)
    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [
        inspect.Parameter(
            field.name,
            keyword,
            annotation=hints[field.name],
            default=inspect.Parameter.empty if field.default is MISSING else field.default,
        )
        for field in sorted(fields(flags), key=lambda field: _distance(flags, field.name))
    ]

    def call(**values: Any) -> None:
        command(flags(**values))

    call.__name__, call.__doc__ = command.__name__, command.__doc__
    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {one.name: one.annotation for one in parameters}
    return call


def _distance(flags: type, name: str) -> int:
    """How far up the classes a field is declared: 0 is the command's own."""
    return next(at for at, owner in enumerate(flags.__mro__) if name in inspect.get_annotations(owner))
