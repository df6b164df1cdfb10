"""Every two models of a dataset: the best score of each pair, as a matrix."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from structure.pipeline.page import charts
from structure.pipeline.page.blocks import Block, Chart, Section, Table
from structure.pipeline.page.source import Source


def section(source: Source) -> Section:
    """A matrix for each run of `rank-layers --all`."""
    blocks: list[Block] = [_matrix(document) for document in source.models]
    return Section("models", "Similarity of models", blocks)


def _matrix(document: Mapping[str, Any]) -> Chart:
    sides = document["between"].split("-")
    rows = [{**cell, "told": f"{cell['score']:.3f}"} for cell in document["cells"]]
    if sides[0] == sides[1]:
        rows += [{**row, "first": row["second"], "second": row["first"]} for row in rows]
    first, second = ([each["model"] for each in document[side]] for side in ("first", "second"))
    titles = {
        "first": f"{sides[0]} model",
        "second": f"{sides[1]} model",
        "first_layer": "its layer",
        "second_layer": "its layer",
        "score": document["metric"],
        "p_value": "p",
    }
    spec = charts.heatmap(
        rows,
        x="second",
        y="first",
        value="score",
        titles=titles,
        tooltip=["first:N", "first_layer:N", "second:N", "second_layer:N", "score", "p_value:.3g"],
        order=(second, first),
        words="told",
    )
    best, where = document["best"], f"{document['dataset']}/{document['split']}"
    alt = (
        f"Matrix of the best {document['metric']} of {len(document['cells'])} pairs of models on {where}. The largest, "
        f"{best['score']:.4f}, is {best['first']} with {best['second']}."
    )
    columns = {
        "first": titles["first"],
        "first_layer": "its layer",
        "second": titles["second"],
        "second_layer": "its layer",
        "score": "score",
        "p_value": "p",
        "k": "k",
        "rows": "rows",
    }
    table = Table(
        f"Best layer pair of every two models, {where}", columns, document["cells"], {"score": 4, "p_value": 4}
    )
    return Chart(f"Best {document['metric']} over all layer pairs, {where}", alt, spec, table, wide=True)
