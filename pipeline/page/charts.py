"""The kinds of charts of the page, drawn by Vega-Altair; every one takes rows and names of their fields.

Texts and axes have the colour of the page around them (`currentColor`), so that one drawing serves light and dark.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeAlias

if TYPE_CHECKING:
    import altair as alt

Rows: TypeAlias = Sequence[Mapping[str, Any]]

CHOSEN = "#d6336c"
GREY = "#868e96"
SERIES = ("#1c7ed6", "#d97706", "#2f9e44", "#ae3ec9", "#e03131", "#0c8599", "#a0703c", "#e64980", "#5c7cfa", "#5c940d")
"""Three to one or more against the paper of the page, light and dark (WCAG 1.4.11)."""

DASHES = ((1, 0), (6, 3), (2, 2), (8, 2, 2, 2))
HEIGHT = 260

THEME: dict[str, Any] = {
    "background": "transparent",
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "axis": {
        "labelColor": "currentColor",
        "titleColor": "currentColor",
        "domainColor": GREY,
        "tickColor": GREY,
        "gridColor": GREY,
        "gridOpacity": 0.2,
        "labelFontSize": 11,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "titlePadding": 10,
        "labelLimit": 240,
    },
    "legend": {
        "labelColor": "currentColor",
        "titleColor": "currentColor",
        "labelFontSize": 11,
        "titleFontSize": 11,
        "titleFontWeight": "normal",
        "labelLimit": 420,
        "symbolLimit": 40,
    },
    "text": {"color": "currentColor"},
    "range": {"category": list(SERIES)},
}


Asked = ParamSpec("Asked")
Spec: TypeAlias = dict[str, Any]


def _unchecked(drawn: Callable[Asked, Spec]) -> Callable[Asked, Spec]:
    """Altair holds every part against Vega-Lite's schema as it is made, which takes a third of a report's time; the
    tests do that once for all."""

    @wraps(drawn)
    def draw(*args: Asked.args, **kwargs: Asked.kwargs) -> Spec:
        from altair.utils import schemapi

        with schemapi.debug_mode(False):
            return drawn(*args, **kwargs)

    return draw


@_unchecked
def heatmap(
    rows: Rows,
    *,
    x: str,
    y: str,
    value: str,
    titles: Mapping[str, str],
    tooltip: Sequence[str],
    order: tuple[Sequence[str], Sequence[str]],
    marked: Mapping[str, Any] | None = None,
    number: str = ".4f",
    words: str | None = None,
    scheme: str = "viridis",
) -> Spec:
    """A coloured cell for every row; `order` of the columns and of the rows, `marked` the cell with a frame, `words`
    the field written into each cell. `titles` name the fields, for axes and for what hovering shows."""
    import altair as alt

    step = max(14, min(34, 460 // max(1, len(order[1]))))
    across = alt.X(field=x, type="nominal", sort=list(order[0]), title=titles[x], axis=alt.Axis(labelAngle=-45))
    down = alt.Y(field=y, type="nominal", sort=list(order[1]), title=titles[y])
    shade = alt.Color(field=value, type="quantitative", scale=alt.Scale(scheme=scheme), title=titles[value])
    cells = alt.Chart().mark_rect(aria=False).encode(across, down, shade, _tooltip(tooltip, titles, number))
    layers = [cells]
    if marked is not None:
        frame = alt.Chart(_data([marked])).mark_rect(filled=False, stroke=CHOSEN, strokeWidth=3, aria=False)
        layers.append(frame.encode(across, down))
    if words is not None:
        middle = _middle([row[value] for row in rows])
        colour = alt.condition(f"datum[{value!r}] > {middle}", alt.value("black"), alt.value("white"))
        text = alt.Chart().mark_text(fontSize=11, aria=False)
        layers.append(text.encode(across, down, alt.Text(field=words, type="nominal"), color=colour))
    return _finished(alt.layer(*layers, data=_data(rows)), height=step * len(order[1]))


@_unchecked
def lines(
    rows: Rows,
    *,
    x: str,
    y: str,
    series: str,
    titles: Mapping[str, str],
    tooltip: Sequence[str],
    detail: str | None = None,
    low_high: tuple[str, str] | None = None,
    points: Rows = (),
    rules: Mapping[str, float] | None = None,
    stops: Mapping[str, float] | None = None,
    logarithmic: str = "",
    from_zero: bool = False,
    dots: bool = True,
) -> Spec:
    """A line for every series through its rows, of one colour for each; with `detail` a line for each of its values.

    `points` are ringed; `rules` are named heights, `stops` named places along x; `low_high` names the ends of each
    row's interval; `logarithmic` is the number format of an x axis in powers of ten. A click on the legend picks out
    one series.
    """
    import altair as alt

    counted = all(isinstance(row[x], int) for row in rows)
    axis = alt.Axis(format=",d", tickMinStep=1) if counted else alt.Axis()
    across = alt.X(field=x, type="quantitative", scale=alt.Scale(zero=False), title=titles[x], axis=axis)
    if logarithmic:
        axis = alt.Axis(format=logarithmic, labelOverlap="greedy", tickCount=8)
        scale = alt.Scale(type="log", nice=False, padding=12)
        across = alt.X(field=x, type="quantitative", scale=scale, title=titles[x], axis=axis)
    up = alt.Y(field=y, type="quantitative", scale=alt.Scale(zero=from_zero), title=titles[y])
    shown = _tooltip(tooltip, titles, ".4g")
    layers: list[alt.Chart] = []
    names = list(dict.fromkeys(row[series] for row in rows))
    pick = alt.selection_point(fields=[series], bind="legend")
    colour = _series(series, names, titles[series])
    colour["opacity"] = alt.condition(pick, alt.value(1), alt.value(0.1))
    if detail is not None:
        colour["detail"] = alt.Detail(field=detail, type="nominal")
    if low_high is not None:
        low, high = (alt.Y(field=low_high[0], type="quantitative", title=titles[y]), alt.Y2(field=low_high[1]))
        layers.append(alt.Chart().mark_rule(strokeWidth=1.5, aria=False).encode(across, low, high, **colour))
    line = alt.Chart().mark_line(strokeWidth=1.8, point={"size": 28} if dots else False, aria=False)
    line = line.encode(across, up, shown, **colour)
    layers.append(line.add_params(pick))
    if points:
        ring = alt.Chart(_data(points)).mark_point(size=130, stroke=CHOSEN, strokeWidth=2.5, filled=False, aria=False)
        layers.append(ring.encode(across, up, shown))
    layers += _rules(rules or {}, up, ()) + _rules(stops or {}, across, [row[x] for row in rows])
    return _finished(alt.layer(*layers, data=_data(rows)))


@_unchecked
def histogram(rows: Rows, *, titles: Mapping[str, str], marks: Mapping[str, float]) -> Spec:
    """A bar for every row, from its field `low` to `high`, as high as its `count`; with named places marked."""
    import altair as alt

    ends = [*(row["low"] for row in rows), *(row["high"] for row in rows), *marks.values()]
    scale = alt.Scale(domain=[min(ends), max(ends)], nice=True, zero=False)
    across = alt.X(field="low", type="quantitative", scale=scale, title=titles["low"])
    up = alt.Y(field="count", type="quantitative", title=titles["count"])
    shown = _tooltip(["low", "high", "count:d"], titles, ".4f")
    bars = alt.Chart(_data(rows)).mark_rect(color=SERIES[0], aria=False)
    place = alt.X(field="place", type="quantitative", scale=scale, title=titles["low"])
    bars = bars.encode(across, alt.X2(field="high"), up, alt.Y2(datum=0), shown)
    return _finished(alt.layer(bars, *_rules(marks, place, ends)))


@_unchecked
def intervals(
    rows: Rows,
    *,
    y: str,
    value: str,
    low: str,
    high: str,
    titles: Mapping[str, str],
    tooltip: Sequence[str],
    rules: Mapping[str, float] | None = None,
) -> Spec:
    """A dot with its interval for every row, one below the other in the order given; `rules` are named places."""
    import altair as alt

    scale = alt.Scale(zero=False, nice=True, padding=6)
    down = alt.Y(field=y, type="nominal", sort=[row[y] for row in rows], title=None)
    across = alt.X(field=value, type="quantitative", scale=scale, title=titles[value])
    shown = _tooltip(tooltip, titles, ".4f")
    ends = [row[end] for row in rows for end in (low, high) if math.isfinite(row[end])]
    bars = []
    if ends:  # a single seed has no interval
        along = alt.X(field=low, type="quantitative", scale=scale, title=titles[value])
        bars.append(alt.Chart().mark_rule(strokeWidth=2, color=SERIES[0], aria=False))
        bars[0] = bars[0].encode(down, along, alt.X2(field=high))
    dots = alt.Chart().mark_point(filled=True, size=70, color=SERIES[0], aria=False).encode(down, across, shown)
    others = [*ends, *(row[value] for row in rows)]
    whole = alt.layer(*bars, dots, *_rules(rules or {}, across, others), data=_data(rows))
    return _finished(whole, height=max(60, 26 * len(rows)))


@_unchecked
def points(rows: Rows, *, x: str, y: str, titles: Mapping[str, str], tooltip: Sequence[str]) -> Spec:
    """A dot for every row."""
    import altair as alt

    across = alt.X(field=x, type="quantitative", scale=alt.Scale(zero=False), title=titles[x])
    up = alt.Y(field=y, type="quantitative", scale=alt.Scale(zero=False), title=titles[y])
    dots = alt.Chart(_data(rows)).mark_point(filled=True, size=70, opacity=0.85, color=SERIES[0], aria=False)
    return _finished(dots.encode(across, up, _tooltip(tooltip, titles, ".4f")))


def _series(field: str, names: Sequence[str], title: str) -> Spec:
    """Colour, and beyond ten series also the dashes of the line: two of a colour then still differ."""
    import altair as alt

    legend = alt.Legend(orient="bottom", columns=1, direction="vertical") if len(names) > 1 else None
    hues = [SERIES[place % len(SERIES)] for place in range(len(names))]
    found: dict[str, Any] = {
        "color": alt.Color(
            field=field, type="nominal", scale=alt.Scale(domain=list(names), range=hues), title=title, legend=legend
        )
    }
    if len(names) > len(SERIES):
        dashes = [list(DASHES[place // len(SERIES) % len(DASHES)]) for place in range(len(names))]
        scale = alt.Scale(domain=list(names), range=dashes)
        found["strokeDash"] = alt.StrokeDash(field=field, type="nominal", scale=scale, title=title, legend=legend)
    return found


def _rules(places: Mapping[str, float], channel: Any, others: Sequence[float]) -> list[alt.Chart]:
    """A dashed line and its name at every place along the channel's axis, where `others` lie too.

    Names of upright lines stand above the chart and lean to its middle; those of level lines take turns left and right.
    """
    import altair as alt

    layers = []
    upright = isinstance(channel, alt.X)
    middle = _middle([*others, *places.values()])
    for number, (name, place) in enumerate(places.items()):
        data = _data([{"place": place, "name": name}])
        along = channel.copy()
        along.field = "place"
        colour = CHOSEN if name.startswith("found") else GREY
        layers.append(alt.Chart(data).mark_rule(strokeDash=[5, 4], color=colour, aria=False).encode(along))
        if upright:
            text = alt.Chart(data).mark_text(align="right" if place > middle else "left", fontSize=11, aria=False)
            where: dict[str, Any] = {"y": alt.value(-8 - 14 * number)}
        else:
            right = number % 2
            text = alt.Chart(data).mark_text(align="right" if right else "left", dy=-6, fontSize=11, aria=False)
            where = {"x": alt.value("width" if right else 4)}
        layers.append(text.encode(along, alt.Text(field="name", type="nominal"), **where))
    return layers


def _tooltip(fields: Sequence[str], titles: Mapping[str, str], number: str) -> Any:
    """What hovering shows: texts as they are, numbers in that format."""
    import altair as alt

    told = []
    for field in fields:
        name, _, kind = field.partition(":")
        title = titles.get(name, name)
        told.append(
            alt.Tooltip(field=name, type="nominal", title=title)
            if kind == "N"
            else alt.Tooltip(field=name, type="quantitative", title=title, format=kind or number)
        )
    return told


def _data(rows: Iterable[Mapping[str, Any]]) -> alt.InlineData:
    import altair as alt

    return alt.InlineData(values=[dict(row) for row in rows])


def _middle(values: Sequence[float | None]) -> float:
    numbers = [value for value in values if value is not None]
    return (min(numbers) + max(numbers)) / 2 if numbers else 0.0


def _finished(chart: Any, *, height: int = HEIGHT) -> Spec:
    spec: Spec = chart.properties(width="container", height=height).configure(**THEME).to_dict(validate=False)
    del spec["$schema"]  # an address that nobody needs to ask
    return spec
