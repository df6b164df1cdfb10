"""Two aligners on the same samples: the difference of every metric with its interval, from the saved predictions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from structure.pipeline.metrics.answers import answers_of
from structure.pipeline.metrics.intervals import Interval
from structure.pipeline.metrics.registry import METRICS, metric_named, pattern_of
from structure.store.errors import StructureError


@dataclass(frozen=True)
class Pairing:
    """Two tables of predictions with the same samples in the same order.

    `left_out` counts samples that only one of the two has (an image that one encoder could not read). `groups` has a
    value for each sample id; samples with one value are resampled together.
    """

    first: pa.Table
    second: pa.Table
    left_out: int
    groups: Mapping[str, str | None] | None = None

    @classmethod
    def of(cls, first: pa.Table, second: pa.Table, groups: Mapping[str, str | None] | None = None) -> Pairing:
        """Bring two tables to the samples that both have, in the first one's order. Raises StructureError where they
        have none in common, or where the same sample has another label."""
        position = {key: row for row, key in enumerate(_keys(second))}
        rows = [(row, position[key]) for row, key in enumerate(_keys(first)) if key in position]
        if not rows:
            raise StructureError("The two aligners were evaluated on different samples: there is nothing to pair.")
        one = first.take(pa.array([row for row, _ in rows]))
        other = second.take(pa.array([row for _, row in rows]))
        for name in ("label_index", "labels", "item", "pixels"):
            if name in one.column_names and one[name] != other[name]:
                raise StructureError(
                    f"The two aligners were scored by different answers ({name} differs). Evaluate both again."
                )
        return cls(one, other, len(first) + len(second) - 2 * len(rows), groups)

    def values(self, metric: str) -> tuple[float, float]:
        """Both values of a metric on the samples that both have, whose difference `difference` is."""
        one = metric_named(metric)
        first, second = (one.interval(answers_of(table)).value for table in (self.first, self.second))
        return first, second

    def difference(self, metric: str, *, seed: int = 0) -> Interval | None:
        """First minus second with its 95 % interval, as the metric defines it. None for a metric that these tables do
        not hold, or that no installed package has."""
        if pattern_of(metric)[0] not in METRICS:
            return None
        one = metric_named(metric)
        first, second = (answers_of(table, self.groups) for table in (self.first, self.second))
        return one.difference(first, second, seed=seed) if one.holds(first) and one.holds(second) else None


def _keys(table: pa.Table) -> list[tuple[str, ...]]:
    columns = ("query", "of") if "query" in table.column_names else ("sample",)
    return list(zip(*(table[name].to_pylist() for name in columns), strict=True))
