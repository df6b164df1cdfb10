"""Qualitative results: retrieved images and captions, confusion matrices, segmentation overlays."""

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
from structure.pipeline.page.source import Source
from structure.pipeline.page.variants import variant
from structure.pipeline.results import Result

MOST_TESTS = 2
"""Retrieval tests whose examples are shown: thumbnails are the heaviest part of the page."""

MOST_MATRICES = 8
MOST_CLASSES = 40
"""Beyond this many classes the most frequent confusions are listed instead of a matrix."""

MOST_CONFUSIONS = 30
MOST_OVERLAYS = 4


def retrieval(source: Source) -> Section:
    """Queries answered correctly and wrongly, with their nearest answers."""
    tests = _first_of_each(source.saved("examples"))[:MOST_TESTS]
    blocks: list[Block] = []
    if tests:
        blocks.append(Text("Queries spread over the test set, answered correctly or not. Correct answers are framed."))
    for result, table in tests:
        rows = table.to_pylist()
        for of, direction in (("image", "text-to-image"), ("text", "image-to-text")):
            queries = tuple(_example(row) for row in rows if row["of"] == of)
            if queries:
                blocks.append(Examples(f"{result.dataset}, {result.aligner}: {direction} retrieval", queries))
    return Section("examples", "Qualitative retrieval examples", blocks)


def _example(row: Mapping[str, Any]) -> Example:
    answers = tuple(
        Answer(each["place"] + 1, each["text"], _sample(each), each["picture"], each["cosine"], each["right"])
        for each in row["answers"]
    )
    return Example(row["text"], _sample(row), row["picture"], row["rank"] + 1, answers)


def _sample(row: Mapping[str, Any]) -> str:
    """`17 (cat.png)`, or the id alone where it holds the name of the file, or none is known."""
    item, file = str(row["item"]), str(row.get("file") or "")
    return f"{item} ({file})" if file.rsplit(".", 1)[0] not in item else item


def confusion(source: Source) -> Section:
    """Confusion matrices of zero-shot classification, for the first aligner on each test."""
    tests = _first_of_each(source.saved("confusion"))
    blocks: list[Block] = []
    for result, table in tests[:MOST_MATRICES]:
        rows = table.to_pylist()
        classes = _classes(rows)
        blocks.append(_matrix(result, rows, classes) if len(classes) <= MOST_CLASSES else _commonest(result, rows))
    if len(tests) > MOST_MATRICES:
        blocks.append(Text(f"The first {MOST_MATRICES} of {len(tests)} tests.", small=True))
    return Section("confusion", "Confusion matrix", blocks)


def _first_of_each(tables: Iterable[tuple[Result, pa.Table]]) -> list[tuple[Result, pa.Table]]:
    """Of every test the first aligner."""
    first: dict[tuple[str, str], tuple[Result, pa.Table]] = {}
    for result, table in tables:
        first.setdefault((result.dataset, result.task), (result, table))
    return list(first.values())


def _classes(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Names in the order of their index; two classes of one name are told apart by it."""
    names: dict[int, str] = {}
    for row in rows:
        names[row["label_index"]] = row["label"]
        names[row["prediction_index"]] = row["prediction"]
    return [names[index] for index in sorted(names)]


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
    correct = sum(row["count"] for row in rows if row["label_index"] == row["prediction_index"])
    whole = sum(sizes.values())
    worst = sorted((c for c in cells if c["label_index"] != c["prediction_index"]), key=lambda c: -c["count"])[:3]
    pairs = "; ".join(f"{c['label']} predicted as {c['prediction']} {c['count']} times" for c in worst)
    alt = f"Matrix of {len(classes)} classes: {correct:,} of {whole:,} correct. Most frequent confusions: "
    alt += f"{pairs or 'none'}."
    name = f"{result.dataset}, {result.aligner}"
    return Chart(f"{name}: {correct / whole:.1%} of {whole:,} correct", alt, spec, Table(name, titles, cells))


def _commonest(result: Result, rows: list[Mapping[str, Any]]) -> Table:
    wrong = sorted((r for r in rows if r["label_index"] != r["prediction_index"]), key=lambda r: -r["count"])
    columns = {"label": "true class", "prediction": "predicted class", "count": "count"}
    caption = f"{result.dataset}, {result.aligner}: the {min(MOST_CONFUSIONS, len(wrong))} most frequent confusions"
    return Table(caption, columns, wrong[:MOST_CONFUSIONS])


def segmentation(source: Source) -> Section:
    """The overlays that evaluations saved, of the first aligner of each variant."""
    overlays: dict[tuple[str, str], ImageBlock] = {}
    evaluated = {result.aligner for result in source.results if result.task == "segmentation"}
    for name in source.aligners:
        for key, read in source.pictures(name):
            shown = (variant(name), key)
            if shown not in overlays and len(overlays) < MOST_OVERLAYS and (picture := read()) is not None:
                alt = f"Segmentation by {name}: rows of an image, its true and its predicted classes, in colours."
                suite, _, what = key.removeprefix("pictures/").partition("/")
                dataset = what.removesuffix(".png").removesuffix("_segmentation_overlays")
                overlays[shown] = ImageBlock(f"{dataset}, {name} (suite {suite})", alt, picture)
    blocks: list[Block] = []
    bare = len({variant(name) for name in evaluated} - {name for name, _ in overlays})
    if overlays and bare:
        note = "An evaluation draws its first aligners only, and this page shows the first " + (
            f"{MOST_OVERLAYS} images: {plural(bare, 'other variant')} of the tables {'is' if bare == 1 else 'are'} "
            "not drawn. structure eval --aligner NAME draws that one."
        )
        blocks.append(Text(note, small=True))
    blocks += overlays.values()
    return Section("segmentation", "Qualitative segmentation examples", blocks)
