"""Pictures of results as PNG: drawn with matplotlib's object interface, so no window system and no global state."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

DPI = 120


def save_heatmap(scores: xr.DataArray, ranking: Mapping[str, Any], path: Path) -> None:
    """Write the layer-pair heatmap with the chosen pair marked."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png(heatmap(scores, ranking)))


def heatmap(scores: xr.DataArray, ranking: Mapping[str, Any]) -> Figure:
    """Vision layers down, text layers across, a colour bar, and a mark on the chosen pair."""
    vision, text = [list(map(str, scores.coords[name].values)) for name in ("vision_layer", "text_layer")]
    figure = _figure(width=min(14.0, 3.4 + 0.42 * len(text)), height=min(12.0, 2.2 + 0.34 * len(vision)))
    axes = figure.add_subplot()
    image = axes.imshow(scores.values, cmap="viridis", aspect="auto", interpolation="nearest")
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
        markeredgecolor="red",
        markeredgewidth=2.0,
    )
    axes.set_title(
        f"{ranking['metric']}, k = {ranking['k']}, {ranking['rows']:,} rows; chosen pair circled", fontsize=9
    )
    figure.colorbar(image, ax=axes, label=str(ranking["metric"]))
    return figure


def depth_curves(scores: xr.DataArray, ranking: Mapping[str, Any]) -> Figure:
    """For every layer of each side, the best score with any layer of the other, against relative depth."""
    figure = _figure(width=6.0, height=3.4)
    axes = figure.add_subplot()
    for side, other in (("vision_layer", "text_layer"), ("text_layer", "vision_layer")):
        best = scores.max(dim=other).values
        axes.plot(np.linspace(0, 1, len(best)), best, marker="o", markersize=4, label=side.replace("_", " "))
    if ranking.get("chance"):
        axes.axhline(ranking["chance"], color="grey", linestyle=":", label="chance")
    if ranking.get("threshold"):
        axes.axhline(ranking["threshold"], color="grey", linestyle="--", label="95 % of permutations")
    axes.set_xlabel("relative depth")
    axes.set_ylabel(f"best {ranking['metric']}")
    axes.legend(fontsize=8)
    return figure


def training_curves(histories: Mapping[str, Mapping[str, Sequence[float]]]) -> Figure:
    """Validation InfoNCE and R_S over epochs, a line an aligner."""
    figure = _figure(width=9.0, height=3.4)
    left, right = figure.subplots(1, 2)
    for name, history in histories.items():
        left.plot(history["epoch"], history["val_contrastive"], label=name, linewidth=1.2)
        both = np.add(history["val_structure_vision"], history["val_structure_text"])
        right.plot(history["epoch"], both, label=name, linewidth=1.2)
    left.set_ylabel("InfoNCE, validation pairs")
    right.set_ylabel("R_S (vision + text), validation pairs")
    for axes in (left, right):
        axes.set_xlabel("epoch")
    right.legend(fontsize=7)
    return figure


def png(figure: Figure) -> bytes:
    """The figure as PNG bytes, the same for the same figure."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _figure(*, width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=DPI, layout="constrained")
