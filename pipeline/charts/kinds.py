"""The kinds of charts, drawn by Vega-Altair; every one takes rows, and which of their fields to draw."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec

from structure.pipeline.charts.encoding import (
    Fields,
    Records,
    Reference,
    finished,
    inline,
    middle,
    reference_lines,
    series_colours,
    tooltips,
)
from structure.pipeline.charts.theme import HIGHLIGHT, SERIES, Spec

if TYPE_CHECKING:
    import altair as alt

Parameters = ParamSpec("Parameters")


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


def _unchecked(draw: Callable[Parameters, Spec]) -> Callable[Parameters, Spec]:
    """Altair holds every part against Vega-Lite's schema as it is made, which takes a third of a report's time; the
    tests do that once for all."""

    @wraps(draw)
    def drawn(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Spec:
        from altair.utils import schemapi

        with schemapi.debug_mode(False):
            return draw(*args, **kwargs)

    return drawn


@_unchecked
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
    import altair as alt

    lines_of_label = max((str(row[labels]).count("\n") + 1 for row in rows), default=1) if labels else 1
    step = max(14, min(34, 460 // max(1, len(order[1])))) if lines_of_label == 1 else 14 * lines_of_label + 10
    titles = fields.titles
    across = alt.X(
        field=fields.x, type="nominal", sort=list(order[0]), title=titles[fields.x], axis=alt.Axis(labelAngle=-45)
    )
    down = alt.Y(field=fields.y, type="nominal", sort=list(order[1]), title=titles[fields.y])
    shade = alt.Color(field=value, type="quantitative", scale=alt.Scale(scheme=scheme), title=titles[value])
    layers = [alt.Chart().mark_rect(aria=False).encode(across, down, shade, tooltips(fields, ".4f"))]
    if marked is not None:
        frame = alt.Chart(inline([marked])).mark_rect(filled=False, stroke=HIGHLIGHT, strokeWidth=3, aria=False)
        layers.append(frame.encode(across, down))
    if labels is not None:
        centre = middle([row[value] for row in rows])
        colour = alt.condition(f"datum[{value!r}] > {centre}", alt.value("black"), alt.value("white"))
        height = 13
        text = alt.Chart().mark_text(
            fontSize=11, aria=False, lineBreak="\n", lineHeight=height, dy=-height * (lines_of_label - 1) / 2
        )
        layers.append(text.encode(across, down, alt.Text(field=labels, type="nominal"), color=colour))
    return finished(alt.layer(*layers, data=inline(rows)), height=step * len(order[1]))


@_unchecked
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
    import altair as alt

    x, y, titles = fields.x, fields.y, fields.titles
    counted = all(isinstance(row[x], int) for row in rows)
    axis = alt.Axis(format=",d", tickMinStep=1) if counted else alt.Axis()
    across = alt.X(field=x, type="quantitative", scale=alt.Scale(zero=False), title=titles[x], axis=axis)
    if style.logarithmic:
        axis = alt.Axis(format=style.logarithmic, labelOverlap="greedy", tickCount=8)
        scale = alt.Scale(type="log", nice=False, padding=12)
        across = alt.X(field=x, type="quantitative", scale=scale, title=titles[x], axis=axis)
    up = alt.Y(field=y, type="quantitative", scale=alt.Scale(zero=style.from_zero), title=titles[y])
    tips = tooltips(fields, ".4g")
    layers: list[alt.Chart] = []
    names = list(dict.fromkeys(row[series] for row in rows))
    pick = alt.selection_point(fields=[series], bind="legend")
    colour = series_colours(series, names, titles[series])
    colour["opacity"] = alt.condition(pick, alt.value(1), alt.value(0.1))
    if detail is not None:
        colour["detail"] = alt.Detail(field=detail, type="nominal")
    if low_high is not None:
        low, high = (alt.Y(field=low_high[0], type="quantitative", title=titles[y]), alt.Y2(field=low_high[1]))
        layers.append(alt.Chart().mark_rule(strokeWidth=1.5, aria=False).encode(across, low, high, **colour))
    line = alt.Chart().mark_line(strokeWidth=1.8, point={"size": 28} if style.dots else False, aria=False)
    line = line.encode(across, up, tips, **colour)
    layers.append(line.add_params(pick))
    if marks.ringed:
        ring = alt.Chart(inline(marks.ringed))
        ring = ring.mark_point(size=130, stroke=HIGHLIGHT, strokeWidth=2.5, filled=False, aria=False)
        layers.append(ring.encode(across, up, tips))
    layers += reference_lines(marks.levels, up, ())
    layers += reference_lines(marks.stops, across, [row[x] for row in rows])
    return finished(alt.layer(*layers, data=inline(rows)))


@_unchecked
def histogram(rows: Records, *, titles: Mapping[str, str], references: Sequence[Reference]) -> Spec:
    """A bar for every row, from its field `low` to `high`, as high as its `count`; with reference values."""
    import altair as alt

    ends = [*(row["low"] for row in rows), *(row["high"] for row in rows), *(each.value for each in references)]
    scale = alt.Scale(domain=[min(ends), max(ends)], nice=True, zero=False)
    across = alt.X(field="low", type="quantitative", scale=scale, title=titles["low"])
    up = alt.Y(field="count", type="quantitative", title=titles["count"])
    tips = tooltips(Fields("low", "count", titles, ["low", "high", "count:d"]), ".4f")
    bars = alt.Chart(inline(rows)).mark_rect(color=SERIES[0], aria=False)
    bars = bars.encode(across, alt.X2(field="high"), up, alt.Y2(datum=0), tips)
    along = alt.X(field="position", type="quantitative", scale=scale, title=titles["low"])
    return finished(alt.layer(bars, *reference_lines(references, along, ends)))


@_unchecked
def intervals(
    rows: Records, fields: Fields, *, low_high: tuple[str, str], references: Sequence[Reference] = ()
) -> Spec:
    """A dot with its interval for every row, one below the other in the order given: `fields.y` names the row,
    `fields.x` is its value, `low_high` the ends of its interval."""
    import altair as alt

    (low, high), title = low_high, fields.titles[fields.x]
    scale = alt.Scale(zero=False, nice=True, padding=6)
    down = alt.Y(field=fields.y, type="nominal", sort=[row[fields.y] for row in rows], title=None)
    across = alt.X(field=fields.x, type="quantitative", scale=scale, title=title)
    tips = tooltips(fields, ".4g")
    ends = [row[end] for row in rows for end in low_high if math.isfinite(row[end])]
    bars = []
    if ends:  # a single seed has no interval
        along = alt.X(field=low, type="quantitative", scale=scale, title=title)
        bars.append(alt.Chart().mark_rule(strokeWidth=2, color=SERIES[0], aria=False))
        bars[0] = bars[0].encode(down, along, alt.X2(field=high))
    dots = alt.Chart().mark_point(filled=True, size=70, color=SERIES[0], aria=False).encode(down, across, tips)
    values = [*ends, *(row[fields.x] for row in rows)]
    whole = alt.layer(*bars, dots, *reference_lines(references, across, values), data=inline(rows))
    return finished(whole, height=max(60, 26 * len(rows)))


@_unchecked
def points(rows: Records, fields: Fields) -> Spec:
    """A dot for every row."""
    import altair as alt

    x, y, titles = fields.x, fields.y, fields.titles
    across = alt.X(field=x, type="quantitative", scale=alt.Scale(zero=False), title=titles[x])
    up = alt.Y(field=y, type="quantitative", scale=alt.Scale(zero=False), title=titles[y])
    dots = alt.Chart(inline(rows)).mark_point(filled=True, size=70, opacity=0.85, color=SERIES[0], aria=False)
    return finished(dots.encode(across, up, tooltips(fields, ".4f")))
