"""Glossary: the metrics and methods that the page names, and columns of its tables."""

from __future__ import annotations

from collections.abc import Iterator

from structure.pipeline.aligners.registry import ALIGNERS
from structure.pipeline.metrics.registry import METRICS, pattern_of
from structure.pipeline.page.blocks import METRIC, Section, Table
from structure.pipeline.page.metric_names import MEASURES
from structure.pipeline.page.source import Source
from structure.pipeline.similarity.registry import SIMILARITIES

ALWAYS = {
    "low, high": "ends of the 95 % interval: by Student's t over seeds, with the sampling error of the test where "
    "its predictions are saved, else by a bootstrap over what was tested",
    "chance": "expected value of random guessing",
    "n": "how many samples, queries or classes a number is of",
}


def section(source: Source) -> Section:
    """A row for each metric and each method that the page names."""
    used = set(_used(source))
    rows = [{METRIC: name, "meaning": METRICS[name].meaning} for name in METRICS if name in used]
    rows += [{METRIC: name, "meaning": each.meaning} for name, each in MEASURES.items() if name in used]
    metrics = {name: SIMILARITIES[name] for name in SIMILARITIES if name in used}
    rows += [{METRIC: name, "meaning": f"{kind.notation}: {kind.meaning}"} for name, kind in metrics.items()]
    methods = {facts.get("options", {}).get("method") for facts in source.aligners.values()}
    rows += [{METRIC: name, "meaning": ALIGNERS[name].about} for name in ALIGNERS if name in methods]
    rows += [{METRIC: name, "meaning": meaning} for name, meaning in ALWAYS.items()] if rows else []
    table = Table("Metrics, methods and columns", {METRIC: "name", "meaning": "meaning"}, rows)
    return Section("words", "Glossary", [table] if rows else [])


def _used(source: Source) -> Iterator[str]:
    yield from (pattern_of(result.metric)[0] for result in source.results)
    yield from (pattern_of(row["metric"])[0] for summary in source.summaries for row in summary.get("means", ()))
    yield from (ranking.document["metric"] for ranking in source.rankings)
    yield from (
        "R_S" for facts in source.aligners.values() if facts.get("options", {}).get("regulariser") == "structure"
    )
