"""How the page writes the names of metrics: `image_retrieval_recall@5` as "T→I R@5". Files keep the machine's name.

Evaluation metrics are asked; what a training run measures besides is said here.
"""

from __future__ import annotations

from dataclasses import dataclass

from structure.pipeline.metrics.registry import METRICS, pattern_of, title_of


@dataclass(frozen=True)
class Measure:
    """What a training run measures of its pairs, as the page shows it."""

    notation: str
    meaning: str


MEASURES = {
    "contrastive": Measure("contrastive loss", "InfoNCE loss of the validation pairs; lower is better"),
    "R_S": Measure(
        "R_S", "divergence of the neighbourhoods after a head from those before it: 0 where it keeps them (STRUCTURE)"
    ),
}


def display_name(metric: str) -> str:
    """What a reader sees for `metric`; a name that is not known stays as it is."""
    return MEASURES[metric].notation if metric in MEASURES else title_of(metric)


def is_rank(metric: str) -> bool:
    """Whether the values of a metric are ranks from 1 instead of fractions."""
    pattern, _ = pattern_of(metric)
    return pattern in METRICS and METRICS[pattern].bounds[0] >= 1


def is_fraction(metric: str) -> bool:
    """Whether its values lie from 0 to 1, so that those of several metrics can be drawn on one axis. So does what no
    installed package knows, as far as can be told."""
    pattern, _ = pattern_of(metric)
    return METRICS[pattern].bounds == (0.0, 1.0) if pattern in METRICS else metric not in MEASURES


def other_direction(metric: str) -> str:
    """The same metric of the other direction of a retrieval, with the same number; the metric itself without one."""
    pattern, k = pattern_of(metric)
    opposite = METRICS[pattern].opposite if pattern in METRICS else ""
    return opposite.replace("@k", f"@{k}") or metric
