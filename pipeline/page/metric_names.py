"""How the page writes the names of metrics: `image_retrieval_recall@5` as "T→I R@5". Files keep the machine's name."""

from __future__ import annotations

from structure.pipeline.metrics.registry import METRICS, pattern_of, title_of

_OF_TRAINING = {
    "contrastive": "contrastive loss",
}


def display_name(metric: str) -> str:
    """What a reader sees for `metric`; a name that is not known stays as it is."""
    return _OF_TRAINING.get(metric) or title_of(metric)


def is_rank(metric: str) -> bool:
    """Whether the values of a metric are ranks from 1 instead of fractions."""
    pattern, _ = pattern_of(metric)
    return pattern in METRICS and METRICS[pattern].bounds[0] >= 1
