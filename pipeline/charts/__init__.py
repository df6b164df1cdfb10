"""Charts as Vega-Lite specifications, for the report and, as PNG, for the store."""

from structure.pipeline.charts.drawing_process import Draw, DrawingProcess, draw_here
from structure.pipeline.charts.encoding import Fields, Reference
from structure.pipeline.charts.kinds import LineStyle, Marks, heatmap, histogram, intervals, lines, points
from structure.pipeline.charts.png import WIDTH, panels, png
from structure.pipeline.charts.theme import GREY, HIGHLIGHT, SERIES, Spec

__all__ = [
    "GREY",
    "HIGHLIGHT",
    "SERIES",
    "WIDTH",
    "Draw",
    "DrawingProcess",
    "Fields",
    "LineStyle",
    "Marks",
    "Reference",
    "Spec",
    "draw_here",
    "heatmap",
    "histogram",
    "intervals",
    "lines",
    "panels",
    "png",
    "points",
]
