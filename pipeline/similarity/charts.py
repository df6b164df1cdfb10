"""Charts of a ranking: the matrix of layer pairs, scores over depth, over k, against the null; of many models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from structure.pipeline import charts
from structure.pipeline.charts import Fields, LineStyle, Marks, Reference, Spec
from structure.pipeline.similarity.registry import notation

SIDES = ("vision", "text")


def ranking_charts(ranking: Mapping[str, Any]) -> dict[str, tuple[str, Spec]]:
    """Title and specification of every chart that the ranking has numbers for, by the name of its file."""
    pair = f"{ranking['vision']['model']} with {ranking['text']['model']}\n"
    pair += f"{ranking['dataset']}/{ranking['split']}, {ranking['rows']:,} rows"
    metric = metric_of(ranking)
    drawn = {"heatmap": (f"{metric} of every layer pair; the chosen pair is framed", heatmap)}
    drawn["depth"] = (f"Best {metric} of each layer over depth; chosen layers are ringed", depth)
    found = {name: (f"{title}\n{pair}", draw(ranking)) for name, (title, draw) in drawn.items()}
    if ranking.get("curve"):
        found["curve"] = (f"The chosen pair over k\n{pair}", over_k(ranking))
    if ranking.get("null"):
        title = f"Permutation test: largest score of all pairs in {len(ranking['null'])} permutations"
        found["null"] = (f"{title}\n{pair}", null_histogram(ranking))
    return found


def metric_of(ranking: Mapping[str, Any]) -> str:
    """The ranking's metric as titles and axes name it, such as `mutual kNN@10`."""
    return notation(ranking["metric"], ranking["k"])


def meaningful(ranking: Mapping[str, Any]) -> np.ndarray:
    """(vision layers, text layers) float64 scores, NaN where a layer is the same for every row: such a pair may score
    1 and says nothing."""
    values = np.array(ranking["scores"], dtype=np.float64)  # null in JSON is NaN
    for axis, side in enumerate(SIDES):
        constant = set(ranking.get("constant", {}).get(side, ()))
        for index, name in enumerate(ranking[side]["layers"]):
            if name in constant:
                values[(slice(None),) * axis + (index,)] = np.nan
    return values


def heatmap(ranking: Mapping[str, Any]) -> Spec:
    """Vision layers down, text layers across, the chosen pair framed; pairs without a meaning are left empty."""
    values, best = meaningful(ranking), ranking["best"]
    vision, text = (ranking[side]["layers"] for side in SIDES)
    rows = [
        {"vision": one, "text": other, "score": float(values[i, j])}
        for i, one in enumerate(vision)
        for j, other in enumerate(text)
        if np.isfinite(values[i, j])
    ]
    titles = {side: f"layer of {ranking[side]['model']}" for side in SIDES} | {"score": metric_of(ranking)}
    marked = {"vision": best["vision_layer"], "text": best["text_layer"]}
    fields = Fields("text", "vision", titles, ["vision:N", "text:N", "score"])
    return charts.heatmap(rows, fields, value="score", order=(text, vision), marked=marked)


def depth_rows(ranking: Mapping[str, Any]) -> list[dict[str, Any]]:
    """For every layer of each side (`side`, `layer`) its relative `depth`, its best `score` with any layer of the
    other, and whether it was `chosen`; layers without a meaningful score are left out."""
    values = meaningful(ranking)
    rows: list[dict[str, Any]] = []
    for axis, side in enumerate(SIDES):
        names = ranking[side]["layers"]
        best = np.where(np.isfinite(values), values, -np.inf).max(axis=1 - axis)
        for index, name in enumerate(names):
            if np.isfinite(best[index]):
                rows.append(
                    {
                        "side": f"{side}: {ranking[side]['model']}",
                        "layer": name,
                        "depth": index / max(1, len(names) - 1),
                        "score": float(best[index]),
                        "chosen": name == ranking["best"][f"{side}_layer"],
                    }
                )
    return rows


def depth(ranking: Mapping[str, Any]) -> Spec:
    """A line an encoder: `depth_rows`, with chance and the threshold of the permutation test where there are."""
    rows = depth_rows(ranking)
    titles = {
        "depth": "relative depth (0 = first layer, 1 = last)",
        "score": f"best {metric_of(ranking)}",
        "side": "encoder",
        "layer": "layer",
    }
    levels = [
        Reference(label, ranking[field])
        for field, label in (("chance", "chance"), ("threshold", "95 % of permutations"))
        if ranking.get(field)
    ]
    marks = Marks(ringed=[row for row in rows if row["chosen"]], levels=levels)
    fields = Fields("depth", "score", titles, ["side:N", "layer:N", "score"])
    return charts.lines(rows, fields, series="side", marks=marks)


OVER_K = {"line": "line", "k": "k (neighbours compared)", "score": "mutual kNN", "highest": "highest pair at this k"}
"""Fields of `over_k_rows` and their titles."""


def over_k_rows(ranking: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The score of the chosen pair and chance (`line`) at every `k`, and which pair is `highest` there."""
    curve, pair = ranking["curve"], " with ".join(chosen_pair(ranking))
    rows = []
    for k, score, chance, highest in zip(curve["k"], curve["score"], curve["chance"], curve["best"], strict=True):
        rows.append({"line": pair, "k": k, "score": score, "highest": " with ".join(highest)})
        rows.append({"line": "chance", "k": k, "score": chance, "highest": " with ".join(highest)})
    return rows


def chosen_pair(ranking: Mapping[str, Any]) -> list[str]:
    """Vision and text layer of the best pair."""
    return [ranking["best"]["vision_layer"], ranking["best"]["text_layer"]]


def over_k(ranking: Mapping[str, Any]) -> Spec:
    """Mutual kNN of the chosen pair at every k beside chance."""
    rows, ks = over_k_rows(ranking), ranking["curve"]["k"]
    fields = Fields("k", "score", OVER_K, ["line:N", "k:d", "score", "highest:N"])
    marks = Marks(stops=[Reference(f"k = {ranking['k']}", ranking["k"])])
    return charts.lines(rows, fields, series="line", marks=marks, style=LineStyle(from_zero=True, dots=len(ks) <= 60))


def null_rows(ranking: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Histogram of the largest score of every permutation: `low`, `high`, `count`."""
    counts, edges = np.histogram(ranking["null"], bins=bins(ranking["null"], ranking["best"]["score"]))
    return [
        {"low": float(low), "high": float(high), "count": int(count)}
        for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True)
    ]


def null_titles(ranking: Mapping[str, Any]) -> dict[str, str]:
    """Fields of `null_rows` and their titles."""
    return {"low": metric_of(ranking), "high": "up to", "count": "permutations"}


def null_histogram(ranking: Mapping[str, Any]) -> Spec:
    """`null_rows`, their 0.95 quantile, and the score that is tested."""
    best, threshold = ranking["best"], ranking["threshold"]
    references = [
        Reference(f"95 %: {threshold:.4f}", threshold),
        Reference(f"best pair: {best['score']:.4f} (p = {best['p_value']:.3g})", best["score"], highlight=True),
    ]
    return charts.histogram(null_rows(ranking), titles=null_titles(ranking), references=references)


def bins(null: Sequence[float], score: float) -> int:
    """A bar for ten permutations or so, five to twenty; fewer where the score lies so far off that the bars would be
    thinner than a hundredth of the axis."""
    low, high = min(null), max(null)
    across = max(high, score) - min(low, score)
    most = round(100 * (high - low) / across) if across else 1
    return max(1, min(20, max(5, len(null) // 10), most))


def model_matrix(document: Mapping[str, Any]) -> Spec:
    """The best score of every two models with the layers that reach it, from the document of `rank-layers --all`."""
    sides = document["between"].split("-")
    rows = [
        {**cell, "label": f"{cell['score']:.3f}\n{cell['first_layer']}\n{cell['second_layer']}"}
        for cell in document["cells"]
    ]
    if sides[0] == sides[1]:
        rows += [
            {**row, "first": row["second"], "second": row["first"]}
            | {"first_layer": row["second_layer"], "second_layer": row["first_layer"]}
            | {"label": f"{row['score']:.3f}\n{row['second_layer']}\n{row['first_layer']}"}
            for row in rows
        ]
    order = tuple([each["model"] for each in document[side]] for side in ("second", "first"))
    titles = model_titles(document)
    tooltip = ["first:N", "first_layer:N", "second:N", "second_layer:N", "score", "p_value:.3g"]
    fields = Fields("second", "first", titles, tooltip)
    return charts.heatmap(rows, fields, value="score", order=(order[0], order[1]), labels="label")


def model_titles(document: Mapping[str, Any]) -> dict[str, str]:
    """Fields of the document's cells and their titles."""
    first, second = document["between"].split("-")
    layers = {"first_layer": "its layer", "second_layer": "its layer"}
    return {
        "first": f"{first} model",
        "second": f"{second} model",
        **layers,
        "score": notation(document["metric"]),
        "p_value": "p",
    }


def similarity_against_value(points: Sequence[Mapping[str, Any]], metric: str) -> Spec:
    """A dot a pair of layers (`vision_layer`, `text_layer`): the `value` of `metric` over their `similarity`."""
    tooltip = ["vision_layer:N", "text_layer:N", "similarity", "value"]
    return charts.points(points, Fields("similarity", "value", correlation_titles(metric), tooltip))


def correlation_titles(metric: str) -> dict[str, str]:
    """Fields of a correlation's points and their titles."""
    layers = {"vision_layer": "vision layer", "text_layer": "text layer"}
    return {**layers, "similarity": "similarity of the two layers", "value": metric}
