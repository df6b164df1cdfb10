"""Glossary: the metrics that the page names, and columns of its tables."""

from __future__ import annotations

from collections.abc import Iterator

from structure.pipeline.metrics.registry import METRICS, pattern_of
from structure.pipeline.page.blocks import METRIC, Section, Table
from structure.pipeline.page.source import Source
from structure.pipeline.similarity.registry import SIMILARITIES

MEANINGS = {
    "contrastive": "InfoNCE loss of the validation pairs; lower is better",
    "R_S": "divergence of the neighbourhoods after a head from those before it: 0 where it keeps them (STRUCTURE)",
}
"""What a training run measures, to its meaning; evaluation and similarity metrics say theirs themselves."""

ALWAYS = {
    "low, high": "ends of the 95 % interval: by Student's t over seeds, with the sampling error of the test where "
    "its predictions are saved, else by a bootstrap over what was tested",
    "chance": "expected value of random guessing",
    "n": "how many samples, queries or classes a number is of",
}


def section(source: Source) -> Section:
    """A row for each metric that the page names."""
    used = set(_used(source))
    rows = [{METRIC: name, "meaning": METRICS[name].meaning} for name in METRICS if name in used]
    rows += [{METRIC: name, "meaning": meaning} for name, meaning in MEANINGS.items() if name in used]
    metrics = {name: SIMILARITIES[name] for name in SIMILARITIES if name in used}
    rows += [{METRIC: name, "meaning": f"{kind.notation}: {kind.meaning}"} for name, kind in metrics.items()]
    rows += [{METRIC: name, "meaning": meaning} for name, meaning in ALWAYS.items()] if rows else []
    table = Table("Metrics and columns", {METRIC: "name", "meaning": "meaning"}, rows)
    return Section("words", "Glossary", [table] if rows else [])


def _used(source: Source) -> Iterator[str]:
    yield from (pattern_of(result.metric)[0] for result in source.results)
    yield from (pattern_of(row["metric"])[0] for summary in source.summaries for row in summary.get("means", ()))
    yield from (ranking.document["metric"] for ranking in source.rankings)
    yield from (
        "R_S" for facts in source.aligners.values() if facts.get("options", {}).get("regulariser") == "structure"
    )
