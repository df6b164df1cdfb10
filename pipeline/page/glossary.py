"""Glossary: the metrics that the page names, and columns of its tables."""

from __future__ import annotations

import re
from collections.abc import Iterator

from structure.pipeline.page.blocks import METRIC, Section, Table
from structure.pipeline.page.source import Source
from structure.pipeline.similarity.registry import SIMILARITIES

MEANINGS = {
    r"acc1": "share of the samples whose true class has the largest score (top-1 accuracy)",
    r"acc5": "share of the samples whose true class is among the five largest scores",
    r"mean_per_class_recall": "share of correct answers in each class, averaged over the classes; n counts classes",
    r"mean_average_precision": "average precision of each class, averaged over the classes; n counts classes",
    r"image_retrieval_recall@k": "text-to-image recall@k: share of the captions whose image is in the first k",
    r"text_retrieval_recall@k": "image-to-text recall@k: share of the images with one of their captions in the first k",
    r"image_retrieval_map": "average precision of the images retrieved for a caption, averaged over captions",
    r"text_retrieval_map": "average precision of the captions retrieved for an image, averaged over images",
    r"image_retrieval_median_rank": "median rank of the correct image, from 1; lower is better",
    r"text_retrieval_median_rank": "median rank of the first correct caption, from 1; lower is better",
    r"text_acc": "share of the groups in which every image is nearest to its own caption",
    r"image_acc": "share of the groups in which every caption is nearest to its own image",
    r"acc": "share of the groups in which both hold",
    r"lp_acc1": "top-1 accuracy of a linear probe, which is trained on labels",
    r"lp_acc5": "top-5 accuracy of a linear probe, which is trained on labels",
    r"lp_mean_per_class_recall": "recall of a linear probe in each class, averaged over the classes",
    r"miou": "intersection over union of true and predicted pixels, averaged over the classes",
    r"pixel_accuracy": "share of the pixels whose class is correct",
    r"contrastive": "InfoNCE loss of the validation pairs; lower is better",
    r"R_S": "divergence of the neighbourhoods after a head from those before it: 0 where it keeps them (STRUCTURE)",
}
"""Metric (with `k` for its number) to meaning."""

ALWAYS = {
    "low, high": "ends of the 95 % interval: by Student's t over seeds, else by a bootstrap over what was tested",
    "chance": "expected value of random guessing",
    "n": "how many samples, queries or classes a number is of",
}


def section(source: Source) -> Section:
    """A row for each metric that the page names."""
    used = set(_used(source))
    rows = [{METRIC: name, "meaning": meaning} for name, meaning in MEANINGS.items() if name in used]
    metrics = {name: SIMILARITIES[name] for name in SIMILARITIES if name in used}
    rows += [{METRIC: name, "meaning": f"{kind.notation}: {kind.meaning}"} for name, kind in metrics.items()]
    rows += [{METRIC: name, "meaning": meaning} for name, meaning in ALWAYS.items()] if rows else []
    table = Table("Metrics and columns", {METRIC: "name", "meaning": "meaning"}, rows)
    return Section("words", "Glossary", [table] if rows else [])


def _used(source: Source) -> Iterator[str]:
    yield from (re.sub(r"@\d+$", "@k", result.metric) for result in source.results)
    yield from (
        re.sub(r"@\d+$", "@k", row["metric"]) for summary in source.summaries for row in summary.get("means", ())
    )
    yield from (ranking.document["metric"] for ranking in source.rankings)
    yield from (
        "R_S" for facts in source.aligners.values() if facts.get("options", {}).get("regulariser") == "structure"
    )
