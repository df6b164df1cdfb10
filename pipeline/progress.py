"""What a stage tells while it works. Stages emit; the command line draws."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Progress:
    """`done` of `total` units of `what` are finished; `values` are numbers worth plotting, by name."""

    what: str
    done: int
    total: int
    unit: str = "rows"
    values: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Note:
    """Something worth saying once: a skipped sample, a choice that was made, work that was found done."""

    text: str


Event = Progress | Note
Listener = Callable[[Event], None]


def silent(event: Event) -> None:
    """The listener that says nothing."""
