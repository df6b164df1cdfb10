"""How many pairs a method saves: label efficiency over a curve of subsets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from structure.store.errors import StructureError

Bound = Literal["", "at least", "at most"]


@dataclass(frozen=True)
class Efficiency:
    """At `pairs` pairs the method reaches `value`; the baseline needs `needed` pairs for it, so U = needed / pairs - 1.

    `bound` says that the baseline's curve ends before it gets there ("at least"), or begins above it ("at most").
    """

    pairs: int
    value: float
    needed: float
    bound: Bound

    @property
    def saving(self) -> float:
        """U(N) = N^ / N - 1 (arXiv 2506.16895)."""
        return self.needed / self.pairs - 1

    def row(self) -> dict[str, Any]:
        return {**asdict(self), "U": self.saving}


def pairs_needed(counts: Sequence[int], values: Sequence[float], wanted: float) -> tuple[float, Bound]:
    """The fewest pairs with which a curve reaches `wanted`: linear in log pairs between its points, never beyond them.

    `counts` ascend, `values` (higher is better) belong to them. Raises StructureError for fewer than one point.
    """
    if not counts or len(counts) != len(values) or list(counts) != sorted(set(counts)):
        raise StructureError(f"A curve needs ascending numbers of pairs with a value each, got {list(counts)}.")
    if values[0] >= wanted:
        return float(counts[0]), "" if values[0] == wanted else "at most"
    for place in range(1, len(counts)):
        low, high = values[place - 1], values[place]
        if high >= wanted:
            share = (wanted - low) / (high - low)
            before, after = math.log(counts[place - 1]), math.log(counts[place])
            return math.exp(before + share * (after - before)), ""
    return float(counts[-1]), "at least"


def label_efficiency(counts: Sequence[int], ours: Sequence[float], baseline: Sequence[float]) -> list[Efficiency]:
    """U at every number of pairs; the published figure is its mean over them."""
    return [
        Efficiency(count, value, *pairs_needed(counts, baseline, value))
        for count, value in zip(counts, ours, strict=True)
    ]
