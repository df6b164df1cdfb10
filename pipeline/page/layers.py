"""Which layers see the world alike: the matrix of each two models, over depth, over k, against the null."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from structure.pipeline.page import charts
from structure.pipeline.page.blocks import Block, Chart, Section, Table, Text
from structure.pipeline.page.source import Ranking, Source

SIDES = ("vision", "text")


def section(source: Source) -> Section:
    """Every ranking with its charts."""
    blocks: list[Block] = [block for ranking in source.rankings for block in _ranking(ranking)]
    if not source.rankings:
        blocks = [Text("No two encoders were compared yet:", "structure rank-layers")]
    return Section("layers", "Similarity of layers", blocks)


def _ranking(ranking: Ranking) -> Iterator[Block]:
    document = ranking.document
    whose = f"{document['vision']['model']} with {document['text']['model']}"
    where = f"{document['dataset']}/{document['split']}"
    yield Text(f"{whose} on {where}: {document['reason']}")
    if document.get("folded"):
        told = f"{document['folded']:,} items repeat the picture or the text of another and were ranked once."
        yield Text(told, small=True)
    for side, names in document.get("constant", {}).items():
        if names:
            told = f"Left out of {document[side]['model']}, being the same for every row: {', '.join(names)}."
            yield Text(told, small=True)
    yield _heatmap(ranking, whose)
    yield _depth(ranking, whose)
    if document.get("curve"):
        yield _curve(document, whose)
    if document.get("null"):
        yield _null(document, whose)


def _meaningful(ranking: Ranking) -> np.ndarray:
    """(vision layers, text layers) scores, NaN where a layer is the same for every row: that scores 1 and says
    nothing."""
    values = np.array(ranking.scores.values, dtype=np.float64)
    for axis, side in enumerate(SIDES):
        constant = set(ranking.document.get("constant", {}).get(side, ()))
        for place, name in enumerate(_names(ranking, side)):
            if name in constant:
                values[(slice(None),) * axis + (place,)] = np.nan
    return values


def _names(ranking: Ranking, side: str) -> list[str]:
    return [str(name) for name in ranking.scores.coords[f"{side}_layer"].values]


def _heatmap(ranking: Ranking, whose: str) -> Chart:
    document, values = ranking.document, _meaningful(ranking)
    vision, text = (_names(ranking, side) for side in SIDES)
    rows = [
        {"vision": one, "text": other, "score": float(values[i, j])}
        for i, one in enumerate(vision)
        for j, other in enumerate(text)
        if np.isfinite(values[i, j])
    ]
    best, measure = document["best"], document["metric"]
    titles = {
        "vision": f"layer of {document['vision']['model']}",
        "text": f"layer of {document['text']['model']}",
        "score": measure,
    }
    spec = charts.heatmap(
        rows,
        x="text",
        y="vision",
        value="score",
        titles=titles,
        tooltip=["vision:N", "text:N", "score"],
        order=(text, vision),
        marked={"vision": best["vision_layer"], "text": best["text_layer"]},
    )
    cells = [
        {"layer": one, **{other: _number(values[i, j]) for j, other in enumerate(text)}} for i, one in enumerate(vision)
    ]
    columns = {"layer": "vision layer", **{name: name for name in text}}
    alt = (
        f"Heatmap of {measure} for {len(vision)} vision layers and {len(text)} text layers. The largest, "
        f"{best['score']:.4f}, is {best['vision_layer']} with {best['text_layer']}, which is framed."
    )
    values_table = Table(f"{measure} of every layer pair, {whose}", columns, cells, dict.fromkeys(text, 4))
    return Chart(f"{measure} of every layer pair; the chosen one is framed", alt, spec, values_table, wide=True)


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _depth(ranking: Ranking, whose: str) -> Chart:
    document, values = ranking.document, _meaningful(ranking)
    rows: list[dict[str, Any]] = []
    chosen: list[dict[str, Any]] = []
    for axis, side in enumerate(SIDES):
        names = _names(ranking, side)
        with np.errstate(all="ignore"):
            best = np.where(np.isfinite(values).any(axis=1 - axis), np.nanmax(_filled(values), axis=1 - axis), np.nan)
        for place, name in enumerate(names):
            if np.isfinite(best[place]):
                depth = place / max(1, len(names) - 1)
                row = {"side": f"{side}: {document[side]['model']}", "layer": name, "depth": depth}
                rows.append({**row, "score": float(best[place])})
                if name == document["best"][f"{side}_layer"]:
                    chosen.append(rows[-1])
    titles = {
        "depth": "relative depth (0 = first layer, 1 = last)",
        "score": f"best {document['metric']}",
        "side": "encoder",
        "layer": "layer",
    }
    rules = {
        name: document[field]
        for field, name in (("chance", "chance"), ("threshold", "95 % of permutations"))
        if document.get(field)
    }
    spec = charts.lines(
        rows,
        x="depth",
        y="score",
        series="side",
        titles=titles,
        tooltip=["side:N", "layer:N", "score"],
        points=chosen,
        rules=rules,
    )
    table = Table(f"Best {document['metric']} of each layer, {whose}", _without(titles), rows, {"depth": 2, "score": 4})
    alt = (
        "Two lines over relative depth, one an encoder: each layer's best score with any layer of the other side. "
        f"{_peaks(rows)} Chosen layers are ringed."
    )
    return Chart("Score over depth; the chosen layers are ringed", alt, spec, table)


def _filled(values: np.ndarray) -> np.ndarray:
    """NaN as minus infinity, so that a layer without any score raises no warning."""
    return np.where(np.isfinite(values), values, -np.inf)


def _without(titles: Mapping[str, str]) -> dict[str, str]:
    return {"side": titles["side"], "layer": "layer", "depth": "relative depth", "score": "score"}


def _peaks(rows: list[dict[str, Any]]) -> str:
    told = []
    for side in dict.fromkeys(row["side"] for row in rows):
        top = max((row for row in rows if row["side"] == side), key=lambda row: row["score"])
        told.append(f"{side} peaks at {top['layer']} ({top['score']:.4f}).")
    return " ".join(told)


def _curve(document: Mapping[str, Any], whose: str) -> Chart:
    curve, best = document["curve"], document["best"]
    chosen = [best["vision_layer"], best["text_layer"]]
    name = " with ".join(chosen)
    rows = []
    for k, score, chance, winner in zip(curve["k"], curve["score"], curve["chance"], curve["best"], strict=True):
        rows.append({"what": name, "k": k, "score": score, "winner": " with ".join(winner)})
        rows.append({"what": "chance", "k": k, "score": chance, "winner": " with ".join(winner)})
    titles = {"k": "k (neighbours compared)", "score": "mutual kNN", "what": "line", "winner": "highest pair at this k"}
    spec = charts.lines(
        rows,
        x="k",
        y="score",
        series="what",
        titles=titles,
        tooltip=["what:N", "k:d", "score", "winner:N"],
        stops={f"k = {document['k']}": document["k"]},
        from_zero=True,
        dots=len(curve["k"]) <= 60,
    )
    others = sum(list(winner) != chosen for winner in curve["best"])
    alt = (
        f"Mutual kNN of {name} from k = {curve['k'][0]} ({curve['score'][0]:.4f}) to {curve['k'][-1]} "
        f"({curve['score'][-1]:.4f}), with chance. At {others} of {len(curve['k'])} values of k another pair is higher."
    )
    table = Table(f"Mutual kNN over k, {whose}", _reordered(titles), rows, {"score": 4})
    return Chart("The chosen pair over k", alt, spec, table)


def _reordered(titles: Mapping[str, str]) -> dict[str, str]:
    return {field: titles[field] for field in ("what", "k", "score", "winner")}


def _null(document: Mapping[str, Any], whose: str) -> Chart:
    null, best = document["null"], document["best"]
    marks = {
        f"95 %: {document['threshold']:.4f}": document["threshold"],
        f"found: {best['score']:.4f} (p = {best['p_value']:.3g})": best["score"],
    }
    counted, edges = np.histogram(null, bins=_bins(null, best["score"]))
    rows = [
        {"low": float(low), "high": float(high), "count": int(count)}
        for low, high, count in zip(edges[:-1], edges[1:], counted, strict=True)
    ]
    titles = {"low": str(document["metric"]), "high": "up to", "count": "permutations"}
    spec = charts.histogram(rows, titles=titles, marks=marks)
    caption = f"Largest score of all pairs in {len(null)} permutations, {whose}"
    table = Table(caption, {**titles, "low": "from"}, rows, {"low": 4, "high": 4})
    alt = (
        f"Histogram of the largest score in each of {len(null)} permutations, from {min(null):.4f} to {max(null):.4f}; "
        f"95 % lie below {document['threshold']:.4f}. Found: {best['score']:.4f}."
    )
    return Chart("Held against a permutation null", alt, spec, table)


def _bins(null: Sequence[float], found: float) -> int:
    """A bar for ten permutations or so, five to twenty; fewer where the score found lies so far off that the bars would
    be thinner than a hundredth of the axis."""
    low, high = min(null), max(null)
    across = max(high, found) - min(low, found)
    wide = round(100 * (high - low) / across) if across else 1
    return max(1, min(20, max(5, len(null) // 10), wide))
