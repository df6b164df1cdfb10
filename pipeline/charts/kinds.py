"""The kinds of charts, as Vega-Lite; every one takes rows, and which of their fields to draw."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from structure.pipeline.charts.encoding import (
    Fields,
    Records,
    Reference,
    finished,
    layer,
    middle,
    nominal,
    quantitative,
    reference_lines,
    series_colours,
    tooltips,
)
from structure.pipeline.charts.theme import HIGHLIGHT, SERIES, Spec

PICKED, PICKED_IN = "param_series", "view_series"
"""Names of the series that a click on the legend picks out, and of the layer whose legend it is."""


@dataclass(frozen=True)
class Marks:
    """What stands beside the lines: rows that are ringed, reference values up (`levels`) and along (`stops`)."""

    ringed: Records = ()
    levels: Sequence[Reference] = ()
    stops: Sequence[Reference] = ()


@dataclass(frozen=True)
class LineStyle:
    """`logarithmic`: number format of an x axis in powers of ten, "" for a linear one. `from_zero`: the y axis starts
    at zero. `dots`: a dot at every row."""

    logarithmic: str = ""
    from_zero: bool = False
    dots: bool = True


def heatmap(
    rows: Records,
    fields: Fields,
    *,
    value: str,
    order: tuple[Sequence[str], Sequence[str]],
    marked: Mapping[str, Any] | None = None,
    labels: str | None = None,
    scheme: str = "viridis",
) -> Spec:
    """A cell for every row, coloured by its field `value`; `order` of the columns and of the rows, `marked` the cell
    with a frame, `labels` the field written into each cell, whose line breaks divide it."""
    lines_of_label = max((str(row[labels]).count("\n") + 1 for row in rows), default=1) if labels else 1
    step = max(14, min(34, 460 // max(1, len(order[1])))) if lines_of_label == 1 else 14 * lines_of_label + 10
    titles = fields.titles
    cell = {
        "x": nominal(fields.x, axis={"labelAngle": -45}, sort=list(order[0]), title=titles[fields.x]),
        "y": nominal(fields.y, sort=list(order[1]), title=titles[fields.y]),
    }
    shade = quantitative(value, scale={"scheme": scheme}, title=titles[value])
    layers = [layer("rect", {**cell, "color": shade, "tooltip": tooltips(fields, ".4f")})]
    if marked is not None:
        layers.append(layer("rect", cell, data=[marked], filled=False, stroke=HIGHLIGHT, strokeWidth=3))
    if labels is not None:
        centre = middle([row[value] for row in rows])
        condition = {"test": f"datum[{value!r}] > {centre}", "value": "black"}
        text = {**cell, "text": nominal(labels), "color": {"condition": condition, "value": "white"}}
        height = 13
        up = -height * (lines_of_label - 1) / 2
        layers.append(layer("text", text, dy=up, fontSize=11, lineBreak="\n", lineHeight=height))
    return finished(layers, data=rows, height=step * len(order[1]))


def lines(
    rows: Records,
    fields: Fields,
    *,
    series: str,
    detail: str | None = None,
    low_high: tuple[str, str] | None = None,
    marks: Marks = Marks(),
    style: LineStyle = LineStyle(),
) -> Spec:
    """A line for every series through its rows, of one colour for each; with `detail` a line for each of its values.

    `low_high` names the ends of each row's interval. A click on the legend picks out one series.
    """
    x, y, titles = fields.x, fields.y, fields.titles
    counted = all(isinstance(row[x], int) for row in rows)
    axis: Spec = {"format": ",d", "tickMinStep": 1} if counted else {}
    scale: Spec = {"zero": False}
    if style.logarithmic:
        axis = {"format": style.logarithmic, "labelOverlap": "greedy", "tickCount": 8}
        scale = {"nice": False, "padding": 12, "type": "log"}
    across = quantitative(x, axis=axis, scale=scale, title=titles[x])
    up = quantitative(y, scale={"zero": style.from_zero}, title=titles[y])
    point = {"x": across, "y": up, "tooltip": tooltips(fields, ".4g")}
    names = list(dict.fromkeys(row[series] for row in rows))
    colour = series_colours(series, names, titles[series])
    colour["opacity"] = {"condition": {"param": PICKED, "value": 1}, "value": 0.1}
    if detail is not None:
        colour["detail"] = nominal(detail)
    layers: list[Spec] = []
    if low_high is not None:
        ends = {"x": across, "y": quantitative(low_high[0], title=titles[y]), "y2": {"field": low_high[1]}}
        layers.append(layer("rule", {**ends, **colour}, strokeWidth=1.5))
    dots = {"size": 28} if style.dots else False
    layers.append({**layer("line", {**point, **colour}, point=dots, strokeWidth=1.8), "name": PICKED_IN})
    if marks.ringed:
        ring = {"filled": False, "size": 130, "stroke": HIGHLIGHT, "strokeWidth": 2.5}
        layers.append(layer("point", point, data=marks.ringed, **ring))
    layers += reference_lines(marks.levels, "y", up, ())
    layers += reference_lines(marks.stops, "x", across, [row[x] for row in rows])
    pick = {"name": PICKED, "select": {"type": "point", "fields": [series]}, "bind": "legend", "views": [PICKED_IN]}
    return finished(layers, data=rows, params=[pick])


def histogram(rows: Records, *, titles: Mapping[str, str], references: Sequence[Reference]) -> Spec:
    """A bar for every row, from its field `low` to `high`, as high as its `count`; with reference values."""
    ends = [*(row["low"] for row in rows), *(row["high"] for row in rows), *(each.value for each in references)]
    across = quantitative(
        "low", scale={"domain": [min(ends), max(ends)], "nice": True, "zero": False}, title=titles["low"]
    )
    bar = {
        "x": across,
        "x2": {"field": "high"},
        "y": quantitative("count", title=titles["count"]),
        "y2": {"datum": 0},
        "tooltip": tooltips(Fields("low", "count", titles, ["low", "high", "count:d"]), ".4f"),
    }
    bars = layer("rect", bar, data=rows, color=SERIES[0])
    return finished([bars, *reference_lines(references, "x", across, ends)])


def intervals(
    rows: Records, fields: Fields, *, low_high: tuple[str, str], references: Sequence[Reference] = ()
) -> Spec:
    """A dot with its interval for every row, one below the other in the order given: `fields.y` names the row,
    `fields.x` is its value, `low_high` the ends of its interval."""
    (low, high), title = low_high, fields.titles[fields.x]
    scale = {"nice": True, "padding": 6, "zero": False}
    down = nominal(fields.y, sort=[row[fields.y] for row in rows], title=None)
    across = quantitative(fields.x, scale=scale, title=title)
    ends = [row[end] for row in rows for end in low_high if math.isfinite(row[end])]
    layers = []
    if ends:  # a single seed has no interval
        bar = {"x": quantitative(low, scale=scale, title=title), "x2": {"field": high}, "y": down}
        layers.append(layer("rule", bar, color=SERIES[0], strokeWidth=2))
    dot = {"x": across, "y": down, "tooltip": tooltips(fields, ".4g")}
    layers.append(layer("point", dot, color=SERIES[0], filled=True, size=70))
    values = [*ends, *(row[fields.x] for row in rows)]
    layers += reference_lines(references, "x", across, values)
    return finished(layers, data=rows, height=max(60, 26 * len(rows)))


def points(rows: Records, fields: Fields) -> Spec:
    """A dot for every row."""
    x, y, titles = fields.x, fields.y, fields.titles
    dot = {
        "x": quantitative(x, scale={"zero": False}, title=titles[x]),
        "y": quantitative(y, scale={"zero": False}, title=titles[y]),
        "tooltip": tooltips(fields, ".4f"),
    }
    spec = finished([layer("point", dot, data=rows, color=SERIES[0], filled=True, opacity=0.85, size=70)])
    (only,) = spec.pop("layer")
    return {**spec, **only}
