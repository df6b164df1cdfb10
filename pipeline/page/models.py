"""Every two models of a dataset: the best score of each pair, as a matrix."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from structure.pipeline.page.blocks import Block, Chart, Section, Table
from structure.pipeline.page.source import Source
from structure.pipeline.similarity.charts import model_matrix, model_titles


def section(source: Source) -> Section:
    """A matrix for each run of `rank-layers --all`."""
    blocks: list[Block] = [_matrix(document) for document in source.models]
    return Section("models", "Similarity of models", blocks)


def _matrix(document: Mapping[str, Any]) -> Chart:
    best, data = document["best"], f"{document['dataset']}/{document['split']}"
    alt = (
        f"Matrix of the best {document['metric']} of {len(document['cells'])} pairs of models on {data}. The largest, "
        f"{best['score']:.4f}, is {best['first']} with {best['second']}."
    )
    columns = {**model_titles(document), "score": "score", "k": "k", "rows": "rows"}
    table = Table(
        f"Best layer pair of every two models, {data}", columns, document["cells"], {"score": 4, "p_value": 4}
    )
    return Chart(
        f"Best {document['metric']} over all layer pairs, {data}", alt, model_matrix(document), table, wide=True
    )
