"""Which permutations of the rows a null distribution may draw.

A permutation test is exact where the rows that it exchanges could as well have come in the other order. Rows of one
patient are more alike than others, on both sides, whether or not images and texts have anything to do with each other:
to exchange them with those of other patients takes that likeness out of the null, and p-values become far too small.
What may be exchanged are rows within one group, or whole groups (Winkler et al., "Permutation inference for the general
linear model", NeuroImage 2014, section 2.4: within-block and whole-block exchangeability).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import permutations, product
from typing import Any, Literal

import numpy as np

from structure.store.errors import StructureError

MOST_COUNTED = 15
"""Digits of a number of permutations that is still written out."""


@dataclass(frozen=True)
class Exchangeability:
    """What may be exchanged among `rows` rows: any two, or, with `groups` (rows,) int64, what `permute` says.

    "within": rows of one group. Exact where the rows of a group could have come in any order; what only tells groups
    apart counts as chance. "whole": groups of as many rows, each with its rows in their order; exact where the groups
    are independent. `column` is where the groups come from, for messages and records.
    """

    rows: int
    groups: np.ndarray | None = None
    permute: Literal["within", "whole"] = "within"
    column: str = ""

    @property
    def scheme(self) -> str:
        """In words, for records and messages."""
        return {"": "unrestricted", "within": "within groups", "whole": "whole groups"}[
            "" if self.groups is None else self.permute
        ]

    @property
    def units(self) -> int:
        """How many independent units there are: groups, or rows."""
        return self.rows if self.groups is None else len(self._sizes)

    @cached_property
    def _sizes(self) -> np.ndarray:
        """(groups,) int64: rows of each group."""
        assert self.groups is not None
        return np.bincount(self.groups)

    @cached_property
    def _classes(self) -> np.ndarray:
        """(units,) int64: units of one class may take each other's places. A unit is a row, or a whole group."""
        if self.groups is None:
            return np.zeros(self.rows, dtype=np.int64)
        return self.groups if self.permute == "within" else self._sizes

    @property
    def digits(self) -> float:
        """The decimal logarithm of how many different permutations there are, the rows as they are among them."""
        of_class = np.bincount(self._classes)
        return sum(math.lgamma(count + 1) for count in of_class.tolist()) / math.log(10)

    @property
    def possible(self) -> int | None:
        """How many different permutations there are; None for more than 10^15."""
        if self.digits > MOST_COUNTED:
            return None
        return math.prod(math.factorial(count) for count in np.bincount(self._classes).tolist())

    def drawn(self, draws: int) -> int:
        """How many permutations a test of `draws` takes: all others than the rows as they are, where these are not
        more."""
        possible = self.possible
        return draws if possible is None else min(draws, possible - 1)

    def smallest_p(self, draws: int) -> float:
        """The smallest p-value that a test of `draws` permutations can have."""
        return 1 / (1 + self.drawn(draws))

    def require_some(self) -> None:
        """Raises StructureError where nothing may be exchanged."""
        if self.possible != 1:
            return
        if self.groups is None:
            raise StructureError(f"{self.rows} row allows no permutation. Extract more, or pass --calibrate 0.")
        why, other = "each has one row", "leave out --group"
        if self.permute == "whole":
            why, other = "no two of them have as many rows", "pass --permute within"
        raise StructureError(
            f"The {self.rows:,} rows are {len(self._sizes):,} groups of {self.column}, and {why}: there is no other "
            f"permutation {self._kind}, so that no score could be tested. Name another --group, or {other}."
        )

    def permutations(self, draws: int, *, seed: int) -> Iterator[np.ndarray]:
        """`drawn(draws)` permutations (rows,) int64: the text of row n moves to row permutation[n].

        Random ones, or each but the identity once where there are no more than `draws`: the test is then over all of
        them.
        """
        if self.drawn(draws) < draws:
            yield from map(self._of_rows, self._every_order())
            return
        random = np.random.default_rng(seed)
        for _ in range(draws):
            yield random.permutation(self.rows) if self.groups is None else self._of_rows(self._drawn_order(random))

    def note(self, draws: int) -> str:
        """What a reader must know of a test with few permutations; "" where there are as many as are asked for."""
        drawn = self.drawn(draws)
        if drawn >= draws:
            return ""
        of_groups = f" {self._kind}" if self._kind else ""
        return (
            f"the rows allow {drawn + 1:,} permutations{of_groups}, and the test asks for {draws:,}: it takes all of "
            f"them, and no p-value is below {self.smallest_p(draws):.3g}"
        )

    def describe(self, drawn: int) -> str:
        """The permutations of a test that has drawn so many, in words."""
        kind = f"permutations {self._kind}".rstrip()
        if self.possible is None or drawn < self.possible - 1:
            return f"{drawn} {kind}"
        return f"all {drawn} {kind}, which allow no p below {1 / (1 + drawn):.3g}"

    def to_dict(self, draws: int) -> dict[str, Any]:
        """What a record says: the scheme, the column and number of its groups and the rows of the largest, how many
        permutations were drawn of how many (null: more than 10^15), and the smallest p-value that these allow."""
        known = self.groups is not None
        return {
            "scheme": self.scheme,
            "group": self.column or None,
            "groups": len(self._sizes) if known else None,
            "largest_group": int(self._sizes.max()) if known else None,
            "drawn": self.drawn(draws),
            "possible": self.possible,
            "smallest_p": self.smallest_p(draws) if draws else None,
        }

    @property
    def _kind(self) -> str:
        if self.groups is None:
            return ""
        return f"within groups of {self.column}" if self.permute == "within" else f"of whole groups of {self.column}"

    def _drawn_order(self, random: np.random.Generator) -> np.ndarray:
        """(units,) int64: a random order of the units within each class."""
        order = np.empty(len(self._classes), dtype=np.int64)
        order[self._by_class] = np.lexsort((random.random(len(order)), self._classes))
        return order

    def _every_order(self) -> Iterator[np.ndarray]:
        """Every order of the units within their classes but the one that they have."""
        members = [np.flatnonzero(self._classes == name) for name in np.unique(self._classes)]
        orders = product(*(permutations(units.tolist()) for units in members))
        next(orders)
        for parts in orders:
            order = np.empty(len(self._classes), dtype=np.int64)
            for units, taken in zip(members, parts, strict=True):
                order[units] = taken
            yield order

    @cached_property
    def _by_class(self) -> np.ndarray:
        return np.argsort(self._classes, kind="stable")

    def _of_rows(self, order: np.ndarray) -> np.ndarray:
        """(rows,) from (units,): each row of a unit goes to the row of the same number in the unit `order` names."""
        if self.permute == "within" or self.groups is None:
            return order
        rows = np.argsort(self.groups, kind="stable")
        starts = np.cumsum(self._sizes) - self._sizes
        unit = self.groups[rows]
        moved = np.empty(self.rows, dtype=np.int64)
        moved[rows] = rows[starts[order[unit]] + np.arange(self.rows) - starts[unit]]
        return moved
