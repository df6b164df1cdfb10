"""A group of commands that refuses an option whose value was forgotten, before the next option is taken for it."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup

from structure.store.errors import UsageError


class CommandGroup(TyperGroup):
    """`search x --hub --store S` would search the hub called --store: click takes what follows, whatever it is."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        found = super().resolve_command(ctx, args)
        if not ctx.resilient_parsing:
            require_values(found[1], found[2])
        return found


def require_values(command: Any, words: list[str]) -> None:
    """Raises UsageError where an option that takes a value is followed by the name of another option of the command."""
    takes = {name: option for option in getattr(command, "params", ()) for name in getattr(option, "opts", ())}
    names = {*takes, *(name for option in takes.values() for name in option.secondary_opts)}
    options = {name for name in names if name.startswith("-")}
    skip = 0
    for word, following in zip(words, [*words, ""][1:], strict=True):
        if word == "--":
            return
        skip -= 1
        option = takes.get(word) if word in options else None
        if skip >= 0 or option is None or getattr(option, "is_flag", False) or getattr(option, "count", False):
            continue
        skip = option.nargs
        if following.partition("=")[0] in options:
            raise UsageError(
                f"{word} takes a value, and {following.partition('=')[0]} follows it. Write the value after {word}, or "
                f"leave {word} out."
            )
