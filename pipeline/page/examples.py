"""What an aligner does, to look at: retrieved pictures and captions, confused classes, segmented pictures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from structure.pipeline import charts
from structure.pipeline.charts import Fields
from structure.pipeline.page.blocks import (
    Answer,
    Block,
    Chart,
    Example,
    Examples,
    ImageBlock,
    Section,
    Table,
    Text,
    plural,
)
from structure.pipeline.page.source import Source, variant
from structure.pipeline.results import Result

MOST_TESTS = 2
"""Retrieval tests whose examples are shown: thumbnails are the heaviest part of the page."""

MOST_MATRICES = 8
MOST_CLASSES = 40
"""Beyond this many classes the commonest confusions are listed instead of a matrix."""

MOST_CONFUSIONS = 30
MOST_OVERLAYS = 4


def retrieval(source: Source) -> Section:
    """Queries that were right and wrong, with what was found."""
    found = _first_of_each(source.kept("examples"))[:MOST_TESTS]
    blocks: list[Block] = []
    if found:
        blocks.append(Text("Queries spread over the test, right ones and wrong ones. A framed answer is a right one."))
    for result, table in found:
        rows = table.to_pylist()
        for of, words in (("image", "captions looking for their picture"), ("text", "pictures looking for a caption")):
            told = tuple(_example(row) for row in rows if row["of"] == of)
            if told:
                blocks.append(Examples(f"{result.dataset}, {result.aligner}: {words}", told))
    return Section("examples", "Retrieval, looked at", blocks)


def _example(row: Mapping[str, Any]) -> Example:
    answers = tuple(
        Answer(each["place"] + 1, each["text"] or each["item"], each["picture"], each["cosine"], each["right"])
        for each in row["answers"]
    )
    return Example(row["text"] or row["item"], row["picture"], row["rank"] + 1, answers)


def confusion(source: Source) -> Section:
    """Which classes are taken for which, for the first aligner on each test."""
    found = _first_of_each(source.kept("confusion"))
    blocks: list[Block] = []
    for result, table in found[:MOST_MATRICES]:
        rows = table.to_pylist()
        classes = _classes(rows)
        blocks.append(_matrix(result, rows, classes) if len(classes) <= MOST_CLASSES else _commonest(result, rows))
    if len(found) > MOST_MATRICES:
        blocks.append(Text(f"The first {MOST_MATRICES} of {len(found)} tests.", small=True))
    return Section("confusion", "Zero-shot classes taken for each other", blocks)


def _first_of_each(kept: Iterable[tuple[Result, pa.Table]]) -> list[tuple[Result, pa.Table]]:
    """Of every test the first aligner."""
    first: dict[tuple[str, str], tuple[Result, pa.Table]] = {}
    for result, table in kept:
        first.setdefault((result.dataset, result.task), (result, table))
    return list(first.values())


def _classes(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Names in the order of their index; two classes of one name are told apart by it."""
    found: dict[int, str] = {}
    for row in rows:
        found[row["label_index"]] = row["label"]
        found[row["prediction_index"]] = row["prediction"]
    return [found[index] for index in sorted(found)]


def _matrix(result: Result, rows: list[Mapping[str, Any]], classes: list[str]) -> Chart:
    sizes: dict[str, int] = {}
    for row in rows:
        sizes[row["label"]] = sizes.get(row["label"], 0) + row["count"]
    cells = [{**row, "share": row["count"] / sizes[row["label"]]} for row in rows]
    seen = {(row["label"], row["prediction"]) for row in rows}
    never = [
        {"label": label, "prediction": other, "count": 0, "share": 0.0}
        for label in sizes
        for other in classes
        if (label, other) not in seen
    ]
    titles = {"label": "true class", "prediction": "predicted class", "share": "share of the class", "count": "count"}
    truths = [name for name in classes if name in sizes]
    fields = Fields("prediction", "label", titles, ["label:N", "prediction:N", "share:.1%", "count:,d"])
    spec = charts.heatmap(cells + never, fields, value="share", order=(classes, truths), scheme="blues")
    right = sum(row["count"] for row in rows if row["label_index"] == row["prediction_index"])
    whole = sum(sizes.values())
    worst = sorted((c for c in cells if c["label_index"] != c["prediction_index"]), key=lambda c: -c["count"])[:3]
    told = "; ".join(f"{c['label']} taken for {c['prediction']} {c['count']} times" for c in worst)
    alt = f"Matrix of {len(classes)} classes: {right:,} of {whole:,} right. Commonest confusions: {told or 'none'}."
    name = f"{result.dataset}, {result.aligner}"
    return Chart(f"{name}: {right / whole:.1%} of {whole:,} right", alt, spec, Table(name, titles, cells))


def _commonest(result: Result, rows: list[Mapping[str, Any]]) -> Table:
    wrong = sorted((r for r in rows if r["label_index"] != r["prediction_index"]), key=lambda r: -r["count"])
    columns = {"label": "true class", "prediction": "predicted class", "count": "count"}
    caption = f"{result.dataset}, {result.aligner}: the {min(MOST_CONFUSIONS, len(wrong))} commonest confusions"
    return Table(caption, columns, wrong[:MOST_CONFUSIONS])


def segmentation(source: Source) -> Section:
    """The overlays that evaluations kept, of the first aligner of each variant."""
    found: dict[tuple[str, str], ImageBlock] = {}
    evaluated = {result.aligner for result in source.results if result.metric == "miou"}
    for name in source.aligners:
        folder = source.store.folder("results", name)
        for key in folder.keys("pictures"):
            place = (variant(name), key)
            if key.endswith(".png") and place not in found and len(found) < MOST_OVERLAYS:
                alt = f"Segmentation by {name}: rows of a photo, its true classes and the predicted ones, in colours."
                suite, _, what = key.removeprefix("pictures/").partition("/")
                dataset = what.removesuffix(".png").removesuffix("_segmentation_overlays")
                found[place] = ImageBlock(f"{dataset}, {name} (suite {suite})", alt, folder.read(key))
    blocks: list[Block] = []
    bare = len({variant(name) for name in evaluated} - {name for name, _ in found})
    if found and bare:
        told = "An evaluation draws its first aligners only, and this page shows the first " + (
            f"{MOST_OVERLAYS} pictures: {plural(bare, 'other variant')} of the tables {'is' if bare == 1 else 'are'} "
            "not drawn. structure eval --aligner NAME draws that one."
        )
        blocks.append(Text(told, small=True))
    blocks += found.values()
    return Section("segmentation", "Segmentation, looked at", blocks)
