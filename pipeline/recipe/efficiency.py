"""Label efficiency of a curve over numbers of pairs: how many more pairs a baseline needs to reach the same value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from structure.pipeline.metrics.label_efficiency import label_efficiency
from structure.pipeline.metrics.seed_comparison import SeedMean
from structure.pipeline.recipe.grid import Contrast, GridCell, LayerChoice


def efficiency_of(contrasts: Sequence[Contrast], means: Sequence[SeedMean]) -> list[dict[str, Any]]:
    """U of the first of each contrasted pair against the second, for every test or suite metric with a chance level.

    A row for every number of pairs, and one with `pairs` None for their mean; JSON values.
    """
    value = {(row.variant, row.dataset, row.task, row.metric): row.value for row in means}
    metrics = {
        (row.dataset, row.task, row.metric) for row in means if row.chance is not None and row.dataset != "validation"
    }
    curves: dict[tuple[Any, Any], dict[int, tuple[str, str]]] = {}
    for contrast in contrasts:
        first, second = contrast.first, contrast.second
        if first.values["pairs"] == second.values["pairs"]:
            key = (first.without(("pairs",)), second.without(("pairs",)))
            curves.setdefault(key, {})[first.values["pairs"]] = (first.variant, second.variant)
    rows = []
    for (ours, theirs), points in curves.items():
        for metric in sorted(metrics):
            counts = [n for n in sorted(points) if all((name, *metric) in value for name in points[n])]
            if not counts:
                continue
            reached = [[value[(points[n][side], *metric)] for n in counts] for side in (0, 1)]
            efficiencies = label_efficiency(counts, *reached)
            curve = {
                "variant": _variant(ours),
                "baseline": _variant(theirs),
                **dict(zip(("dataset", "task", "metric"), metric, strict=True)),
            }
            rows += [curve | point.row() for point in efficiencies]
            bounds = {point.bound for point in efficiencies if point.bound}
            mean = sum(point.saving for point in efficiencies) / len(efficiencies)
            rows.append(curve | {"pairs": None, "U": mean, "bound": "about" if len(bounds) > 1 else "".join(bounds)})
    return rows


def _variant(coordinates: tuple[tuple[str, Any], ...]) -> str:
    return GridCell(dict(coordinates), LayerChoice("")).variant
