"""Pictures of a ranking: the matrix of layer pairs, scores over depth, over k, against the null; of many models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from structure.pipeline.figures import new_figure

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

CHOSEN, CHANCE = "tab:red", "0.5"


def pictures(scores: xr.DataArray, ranking: Mapping[str, Any]) -> dict[str, Figure]:
    """Every picture that the ranking has numbers for, by file name."""
    found = {"heatmap": heatmap(scores, ranking), "depth": depth_curves(scores, ranking)}
    if ranking.get("curve"):
        found["curve"] = curve_over_k(ranking)
    if ranking.get("null"):
        found["null"] = null_histogram(ranking)
    return found


def heatmap(scores: xr.DataArray, ranking: Mapping[str, Any]) -> Figure:
    """Vision layers down, text layers across, a colour bar, the chosen pair circled; pairs without a meaning are left
    white."""
    vision, text = [list(map(str, scores.coords[name].values)) for name in ("vision_layer", "text_layer")]
    figure = new_figure(width=min(14.0, 3.4 + 0.42 * len(text)), height=min(12.0, 2.2 + 0.34 * len(vision)))
    axes = figure.add_subplot()
    image = axes.imshow(_meaningful(scores, ranking), cmap="viridis", aspect="auto", interpolation="nearest")
    axes.set_xticks(range(len(text)), text, rotation=60, ha="right", fontsize=8)
    axes.set_yticks(range(len(vision)), vision, fontsize=8)
    axes.set_xlabel(f"text layer ({ranking['text']['model']})")
    axes.set_ylabel(f"vision layer ({ranking['vision']['model']})")
    best = ranking["best"]
    axes.plot(
        text.index(best["text_layer"]),
        vision.index(best["vision_layer"]),
        marker="o",
        markersize=13,
        markerfacecolor="none",
        markeredgecolor=CHOSEN,
        markeredgewidth=2.0,
    )
    axes.set_title(f"{_name(ranking)}, {ranking['rows']:,} rows; chosen pair circled", fontsize=9)
    figure.colorbar(image, ax=axes, label=str(ranking["metric"]))
    return figure


def depth_curves(scores: xr.DataArray, ranking: Mapping[str, Any]) -> Figure:
    """For every layer of each side, the best score with any layer of the other, against relative depth."""
    figure = new_figure(width=6.4, height=3.6)
    axes = figure.add_subplot()
    values = _meaningful(scores, ranking)
    for axis, side in ((1, "vision"), (0, "text")):
        names = [str(name) for name in scores.coords[f"{side}_layer"].values]
        best = values.max(axis=axis)
        depth = np.linspace(0, 1, len(names))
        (line,) = axes.plot(depth, best, marker="o", markersize=4, label=f"{side}: {ranking[side]['model']}")
        chosen = names.index(ranking["best"][f"{side}_layer"])
        axes.annotate(
            names[chosen],
            (depth[chosen], best[chosen]),
            xytext=(0, 6 if side == "vision" else -13),
            textcoords="offset points",
            ha="center",
            fontsize=7,
            color=line.get_color(),
        )
        axes.plot(depth[chosen], best[chosen], marker="o", markersize=10, markerfacecolor="none", color=CHOSEN)
    if ranking.get("chance"):
        axes.axhline(ranking["chance"], color=CHANCE, linestyle=":", label="chance")
    if ranking.get("threshold"):
        axes.axhline(ranking["threshold"], color=CHANCE, linestyle="--", label="95 % of permutations")
    axes.margins(y=0.15)
    axes.set_xlabel("relative depth (0 = first layer, 1 = last)")
    axes.set_ylabel(f"best {ranking['metric']}")
    axes.legend(fontsize=8)
    return figure


def curve_over_k(ranking: Mapping[str, Any]) -> Figure:
    """Mutual kNN of the chosen pair at every k, and where another pair would have won."""
    curve, best = ranking["curve"], ranking["best"]
    figure = new_figure(width=6.4, height=3.6)
    axes = figure.add_subplot()
    k, score = np.array(curve["k"]), np.array(curve["score"])
    axes.plot(k, score, color=CHOSEN, label=f"{best['vision_layer']} with {best['text_layer']}")
    other = np.array([pair != [best["vision_layer"], best["text_layer"]] for pair in curve["best"]])
    if other.any():
        axes.plot(k[other], score[other], "x", color="black", markersize=5, label="another pair is higher here")
    axes.plot(k, curve["chance"], color=CHANCE, linestyle=":", label="chance")
    axes.axvline(ranking["k"], color=CHANCE, linewidth=0.8)
    top = axes.get_xaxis_transform()
    axes.text(ranking["k"], 0.98, f"k = {ranking['k']} ", transform=top, ha="right", va="top", fontsize=7)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("k (neighbours compared)")
    axes.set_ylabel("mutual kNN")
    axes.legend(fontsize=8)
    return figure


def null_histogram(ranking: Mapping[str, Any]) -> Figure:
    """The largest score of every permutation, its 0.95 quantile, and the score that was found."""
    figure = new_figure(width=6.4, height=3.2)
    axes = figure.add_subplot()
    null, best = ranking["null"], ranking["best"]
    axes.hist(
        null,
        bins=min(30, max(5, len(null) // 5)),
        color="tab:blue",
        label=f"largest of all pairs, {len(null)} permutations",
    )
    axes.axvline(ranking["threshold"], color=CHANCE, linestyle="--", label=f"95 %: {ranking['threshold']:.4f}")
    axes.axvline(best["score"], color=CHOSEN, label=f"found: {best['score']:.4f} (p = {best['p_value']:.3g})")
    axes.set_xlabel(str(ranking["metric"]))
    axes.set_ylabel("permutations")
    axes.legend(fontsize=8)
    return figure


def model_matrix(
    values: np.ndarray,
    cells: Sequence[Sequence[str]],
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    title: str,
    axes_of: tuple[str, str],
) -> Figure:
    """Best score of every pair of models, (rows, columns) float with NaN where there is none; `cells` are the texts,
    `axes_of` what rows and columns are."""
    figure = new_figure(width=min(18.0, 3.2 + 1.5 * len(columns)), height=min(16.0, 2.0 + 0.75 * len(rows)))
    axes = figure.add_subplot()
    image = axes.imshow(values, cmap="viridis", aspect="auto", interpolation="nearest")
    middle = (np.nanmin(values) + np.nanmax(values)) / 2
    for i, texts in enumerate(cells):
        for j, text in enumerate(texts):
            if np.isfinite(values[i, j]):
                colour = "black" if values[i, j] > middle else "white"
                axes.text(j, i, text, ha="center", va="center", fontsize=7, color=colour)
    axes.set_xticks(range(len(columns)), columns, rotation=30, ha="right", fontsize=8)
    axes.set_yticks(range(len(rows)), rows, fontsize=8)
    axes.set_ylabel(axes_of[0])
    axes.set_xlabel(axes_of[1])
    axes.set_title(title, fontsize=9)
    figure.colorbar(image, ax=axes)
    return figure


def _meaningful(scores: xr.DataArray, ranking: Mapping[str, Any]) -> np.ndarray:
    """The scores, NaN-masked where a layer is constant: such a pair may score 1 and say nothing."""
    values = np.ma.masked_invalid(scores.values)
    for axis, side in enumerate(("vision", "text")):
        names = list(map(str, scores.coords[f"{side}_layer"].values))
        for name in ranking.get("constant", {}).get(side, ()):
            values[(slice(None),) * axis + (names.index(name),)] = np.ma.masked
    return values


def _name(ranking: Mapping[str, Any]) -> str:
    return f"{ranking['metric']}, k = {ranking['k']}" if "knn" in ranking["metric"] else str(ranking["metric"])
