"""What a method is fitted to, and what a closed form makes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    from structure.pipeline.aligners.arrays import Array
    from structure.pipeline.aligners.heads.head import Head
    from structure.pipeline.aligners.unpaired import Unpaired

Made = TypeVar("Made")


@dataclass(frozen=True)
class TrainingData:
    """Paired features: row i of `vision` and row i of `text` are one sample.

    A side is (n, width) of any float kind, in memory or read on demand; of methods that read tokens or sets `Ragged`,
    `Padded`, the store's `Tokens`, (rows, token, width), or `Rows` of the store, read within `memory` bytes (None: no
    bound). Part of the pairs is held out to select the epoch, unless `validation` pairs are given; `groups`
    (n,) keeps rows of one sample on one side of that split. `unpaired` are rows that only R_S sees. `shared` keeps what
    several fits of the same pairs have in common; whoever passes it passes it with these pairs alone.
    """

    vision: Any
    text: Any
    validation: tuple[Any, Any] | None = None
    groups: Array | None = None
    unpaired: Unpaired | None = None
    memory: int | None = None
    shared: dict[str, Any] | None = field(default=None, compare=False, repr=False)

    @property
    def widths(self) -> tuple[int, int]:
        """Width of both sides' rows."""
        return int(self.vision.shape[1]), int(self.text.shape[1])

    def once(self, name: str, compute: Callable[[], Made]) -> Made:
        """What `compute` makes of the pairs, which nobody changes afterwards: taken from another fit where `shared` has
        that `name`. Everything besides the pairs that it depends on is in the name."""
        if self.shared is None:
            return compute()
        if name not in self.shared:
            self.shared[name] = compute()
        return cast(Made, self.shared[name])


@dataclass(frozen=True)
class Solution:
    """Both heads of a closed form, and what to record of the fit."""

    heads: tuple[Head, Head]
    facts: Mapping[str, Any] = field(default_factory=dict)
