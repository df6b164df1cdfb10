"""Charts as Vega-Lite specifications, for the report and, as PNG, for the store."""

from structure.pipeline.charts.encoding import Fields, Reference
from structure.pipeline.charts.kinds import LineStyle, Marks, heatmap, histogram, intervals, lines, points
from structure.pipeline.charts.png import WIDTH, panels, png, start_drawing
from structure.pipeline.charts.theme import GREY, HIGHLIGHT, SERIES, Spec

__all__ = [
    "GREY",
    "HIGHLIGHT",
    "SERIES",
    "WIDTH",
    "Fields",
    "LineStyle",
    "Marks",
    "Reference",
    "Spec",
    "heatmap",
    "histogram",
    "intervals",
    "lines",
    "panels",
    "png",
    "points",
    "start_drawing",
]
