"""What a recipe found: means over seeds, paired differences, and how similarity goes with accuracy over layer pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from structure.pipeline.metrics.seed_comparison import SeedDifference, SeedMean


@dataclass(frozen=True)
class Point:
    """One pair of layers: its similarity in the ranking, and the mean over seeds of what its aligners reach."""

    vision_layer: str
    text_layer: str
    similarity: float
    value: float


@dataclass(frozen=True)
class Correlation:
    """Spearman's rank correlation over layer pairs of similarity and one metric; None where either does not vary.

    `group` says which runs (pair of encoders, other coordinates of the grid); `p_value` is two-sided.
    """

    group: str
    dataset: str
    task: str
    metric: str
    rho: float | None
    p_value: float | None
    points: tuple[Point, ...]

    def row(self) -> dict[str, Any]:
        """Flat JSON values, the number of points instead of them."""
        return {**{k: v for k, v in asdict(self).items() if k != "points"}, "layer_pairs": len(self.points)}


@dataclass(frozen=True)
class Summary:
    """Everything that is computed from a recipe's results.

    Means in the order of the grid; `efficiency` of a curve; `aligners` and `learning_rates` (None: the method has none)
    by variant, one a seed; `identical`: a variant whose runs
    are those of another -> that one, which was trained; `same_weights`: one that was trained and came out as another
    with every seed; `seconds` per stage, as each step took when it ran.
    """

    means: tuple[SeedMean, ...]
    differences: tuple[SeedDifference, ...]
    correlations: tuple[Correlation, ...]
    efficiency: tuple[Mapping[str, Any], ...]
    aligners: Mapping[str, Sequence[str]]
    learning_rates: Mapping[str, Sequence[float | None]]
    identical: Mapping[str, str]
    same_weights: Mapping[str, str]
    seconds: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        """The document of `structure run --json` and of the report, but for the recipe's name and the seconds."""
        return {
            "aligners": {variant: list(names) for variant, names in self.aligners.items()},
            "learning_rates": {variant: list(rates) for variant, rates in self.learning_rates.items()},
            "identical": dict(self.identical),
            "same_weights": dict(self.same_weights),
            "efficiency": [dict(row) for row in self.efficiency],
            "means": [row.row() for row in self.means],
            "differences": [row.row() for row in self.differences],
            "correlations": [
                {**each.row(), "points": [asdict(point) for point in each.points]} for each in self.correlations
            ],
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Summary:
        """Read back what `to_json` says, and the seconds. Raises KeyError or TypeError."""
        return cls(
            means=tuple(SeedMean(**row) for row in document["means"]),
            differences=tuple(SeedDifference(**row) for row in document["differences"]),
            correlations=tuple(_correlation(row) for row in document["correlations"]),
            efficiency=tuple(document["efficiency"]),
            aligners=document["aligners"],
            learning_rates=document["learning_rates"],
            identical=document["identical"],
            same_weights=document["same_weights"],
            seconds=document["seconds"],
        )


def _correlation(row: Mapping[str, Any]) -> Correlation:
    own = {name: value for name, value in row.items() if name != "layer_pairs"}
    return Correlation(**{**own, "points": tuple(Point(**point) for point in row["points"])})
