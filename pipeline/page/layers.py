"""Which layers see the world alike: the matrix of each two models, over depth, over k, against the null."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from structure.pipeline.page.blocks import Block, Chart, Section, Table, Text
from structure.pipeline.page.source import Ranking, Source
from structure.pipeline.similarity import charts
from structure.pipeline.similarity.charts import SIDES


def section(source: Source) -> Section:
    """Every ranking with its charts."""
    blocks: list[Block] = [block for ranking in source.rankings for block in _ranking(ranking)]
    if not source.rankings:
        blocks = [Text("No two encoders were compared yet:", "structure rank-layers")]
    return Section("layers", "Similarity of layers", blocks)


def _ranking(ranking: Ranking) -> Iterator[Block]:
    document = ranking.document
    pair = f"{document['vision']['model']} with {document['text']['model']}"
    where = f"{document['dataset']}/{document['split']}"
    yield Text(f"{pair} on {where}: {document['reason']}")
    for sentence in document.get("forecast", {}).get("sentences", ()):
        yield Text(sentence)
    if document.get("folded"):
        note = f"{document['folded']:,} samples repeat the image or the text of another and were ranked once."
        yield Text(note, small=True)
    for side, names in document.get("constant", {}).items():
        if names:
            note = f"Constant layers of {document[side]['model']}, excluded: {', '.join(names)}."
            yield Text(note, small=True)
    yield _heatmap(ranking, pair)
    yield _depth(ranking, pair)
    if document.get("curve"):
        yield _curve(document, pair)
    if document.get("null"):
        yield _null(document, pair)


def _heatmap(ranking: Ranking, pair: str) -> Chart:
    document, values = ranking.document, charts.meaningful(ranking.document)
    vision, text = (document[side]["layers"] for side in SIDES)
    best, metric = document["best"], charts.metric_of(document)
    cells = [
        {"layer": one, **{other: _number(values[i, j]) for j, other in enumerate(text)}} for i, one in enumerate(vision)
    ]
    columns = {"layer": "vision layer", **{name: name for name in text}}
    alt = (
        f"Heatmap of {metric} for {len(vision)} vision layers and {len(text)} text layers. The largest, "
        f"{best['score']:.4f}, is {best['vision_layer']} with {best['text_layer']}, which is framed."
    )
    values_table = Table(f"{metric} of every layer pair, {pair}", columns, cells, dict.fromkeys(text, 4))
    spec = charts.heatmap(document)
    return Chart(f"{metric} of every layer pair; the chosen one is framed", alt, spec, values_table, wide=True)


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _depth(ranking: Ranking, pair: str) -> Chart:
    document = ranking.document
    rows = charts.depth_rows(document)
    columns = {"side": "encoder", "layer": "layer", "depth": "relative depth", "score": "score"}
    table = Table(f"Best {charts.metric_of(document)} of each layer, {pair}", columns, rows, {"depth": 2, "score": 4})
    alt = (
        "Two lines over relative depth, one an encoder: each layer's best score with any layer of the other side. "
        f"{_peaks(rows)} Chosen layers are ringed."
    )
    spec = charts.depth(document)
    return Chart("Score over depth; the chosen layers are ringed", alt, spec, table)


def _peaks(rows: list[dict[str, Any]]) -> str:
    peaks = []
    for side in dict.fromkeys(row["side"] for row in rows):
        top = max((row for row in rows if row["side"] == side), key=lambda row: row["score"])
        peaks.append(f"{side} peaks at {top['layer']} ({top['score']:.4f}).")
    return " ".join(peaks)


def _curve(document: Mapping[str, Any], pair: str) -> Chart:
    curve, chosen = document["curve"], charts.chosen_pair(document)
    others = sum(list(highest) != chosen for highest in curve["best"])
    alt = (
        f"Mutual kNN of {' with '.join(chosen)} from k = {curve['k'][0]} ({curve['score'][0]:.4f}) to {curve['k'][-1]} "
        f"({curve['score'][-1]:.4f}), with chance. At {others} of {len(curve['k'])} values of k another pair is higher."
    )
    table = Table(f"Mutual kNN over k, {pair}", charts.OVER_K, charts.over_k_rows(document), {"score": 4})
    return Chart("The chosen pair over k", alt, charts.over_k(document), table)


def _null(document: Mapping[str, Any], pair: str) -> Chart:
    null, best = document["null"], document["best"]
    drawn = document.get("permutations") or {}
    kind = f" {drawn['scheme']} of {drawn['group']}" if drawn.get("group") else ""
    caption = f"Largest score of all pairs in {len(null)} permutations{kind}, {pair}"
    columns = {**charts.null_titles(document), "low": "from"}
    table = Table(caption, columns, charts.null_rows(document), {"low": 4, "high": 4})
    alt = (
        f"Histogram of the largest score in each of {len(null)} permutations{kind}, from {min(null):.4f} to "
        f"{max(null):.4f}; 95 % lie below {document['threshold']:.4f}. The best pair scores {best['score']:.4f}."
    )
    return Chart("Permutation test", alt, charts.null_histogram(document), table)
