"""Two aligners on the same samples: the difference of every metric with its interval, from the kept predictions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from structure.pipeline.metrics.average_precision import average_precisions
from structure.pipeline.metrics.intervals import Interval, paired_interval, statistic_interval, weighted_median
from structure.store.errors import StructureError

PROBE = "lp_"
"""What metric names of linear probes begin with."""


@dataclass(frozen=True)
class Pairing:
    """Two tables of predictions with the same samples in the same order.

    `left_out` counts samples that only one of the two has (a picture that one encoder could not read).
    """

    first: pa.Table
    second: pa.Table
    left_out: int

    @classmethod
    def of(cls, first: pa.Table, second: pa.Table) -> Pairing:
        """Bring two tables to the samples that both have, in the first one's order. Raises StructureError where they
        have none in common, or where the same sample has another label."""
        place = {key: row for row, key in enumerate(_keys(second))}
        rows = [(row, place[key]) for row, key in enumerate(_keys(first)) if key in place]
        if not rows:
            raise StructureError("The two aligners were judged on different samples: there is nothing to pair.")
        one = first.take(pa.array([row for row, _ in rows]))
        other = second.take(pa.array([row for _, row in rows]))
        for name in ("label_index", "labels", "item"):
            if name in one.column_names and one[name] != other[name]:
                raise StructureError(
                    f"The two aligners were judged by different answers ({name} differs). Evaluate both again."
                )
        return cls(one, other, len(first) + len(second) - 2 * len(rows))

    def difference(self, metric: str, *, seed: int = 0) -> Interval | None:
        """First minus second with its 95 % interval: bootstrap over samples (over classes for the mean recall, over
        images for retrieval, whose captions stay together). None for a metric that these tables do not hold."""
        name, _, k = metric.removeprefix(PROBE).partition("@")
        if name == "mean_average_precision":
            return self._mean_average_precision(seed)
        if name == "mean_per_class_recall":
            recalls = [_recalls(table) for table in (self.first, self.second)]
            return paired_interval(*recalls, seed=seed)
        side, _, measure = name.partition("_retrieval_")
        if measure:
            return self._retrieval(side, measure, int(k or 0), seed)
        if k and f"hits@{k}" in self.first.column_names:
            return paired_interval(*(_numbers(t, f"hits@{k}") for t in (self.first, self.second)), seed=seed)
        if name in ("acc1", "acc5"):
            return paired_interval(*(_numbers(t, "rank") < int(name[3:]) for t in (self.first, self.second)), seed=seed)
        if name in self.first.column_names:
            return paired_interval(*(_numbers(t, name) for t in (self.first, self.second)), seed=seed)
        return None

    def _retrieval(self, side: str, measure: str, k: int, seed: int) -> Interval:
        asked = np.flatnonzero(self.first["of"].to_numpy(zero_copy_only=False) == side)
        one, other = (table.take(pa.array(asked)) for table in (self.first, self.second))
        _, image = np.unique(one["item"].to_numpy(zero_copy_only=False), return_inverse=True)
        if measure == "map":
            values = [_numbers(table, "average_precision") for table in (one, other)]
            return paired_interval(*values, clusters=image, seed=seed)
        if measure == "recall":
            return paired_interval(*(_numbers(t, "rank") < k for t in (one, other)), clusters=image, seed=seed)
        ours, theirs = (weighted_median(_numbers(table, "rank") + 1, image) for table in (one, other))
        return statistic_interval(lambda taken: ours(taken) - theirs(taken), n=int(image.max()) + 1, seed=seed)

    def _mean_average_precision(self, seed: int) -> Interval:
        ours, theirs = (_mean_precision(table) for table in (self.first, self.second))
        return statistic_interval(lambda taken: ours(taken) - theirs(taken), n=len(self.first), seed=seed)


def _keys(table: pa.Table) -> list[tuple[str, ...]]:
    columns = ("query", "of") if "query" in table.column_names else ("sample",)
    return list(zip(*(table[name].to_pylist() for name in columns), strict=True))


def _numbers(table: pa.Table, column: str) -> np.ndarray:
    return np.asarray(table[column].to_numpy(zero_copy_only=False), dtype=np.float64)


def _recalls(table: pa.Table) -> np.ndarray:
    """Recall of every class that occurs, in order of its index."""
    labels, member = np.unique(_numbers(table, "label_index"), return_inverse=True)
    right = np.bincount(member, weights=_numbers(table, "rank") == 0, minlength=len(labels))
    return np.asarray(right / np.bincount(member))


def _mean_precision(table: pa.Table) -> Callable[[np.ndarray], np.ndarray]:
    scores = np.array(table["scores"].to_pylist())
    targets = np.zeros(scores.shape, dtype=np.int64)
    for row, present in enumerate(table["labels"].to_pylist()):
        targets[row, present] = 1
    return lambda taken: np.asarray(average_precisions(scores, targets, weights=taken).mean(axis=1))
