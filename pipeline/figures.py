"""Pictures of results as PNG: drawn with matplotlib's object interface, so no window system and no global state."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 120


def scatter(panels: Mapping[str, tuple[Sequence[float], Sequence[float]]], *, x: str, y: str) -> Figure:
    """A panel for every title with its points, at most three in a row."""
    across = min(3, len(panels))
    down = -(-len(panels) // across)
    figure = new_figure(width=3.6 * across, height=3.2 * down)
    for place, (title, (first, second)) in enumerate(panels.items(), start=1):
        axes = figure.add_subplot(down, across, place)
        axes.plot(first, second, linestyle="none", marker="o", markersize=5)
        axes.set_title(title, fontsize=8)
        axes.set_xlabel(x, fontsize=8)
        axes.set_ylabel(y, fontsize=8)
        axes.tick_params(labelsize=7)
    return figure


def png(figure: Figure) -> bytes:
    """The figure as PNG bytes, the same for the same figure."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def new_figure(*, width: float, height: float) -> Figure:
    """An empty figure of that many inches, laid out so that labels do not overlap."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=DPI, layout="constrained")
